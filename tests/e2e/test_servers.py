"""Servers on one database: nothing is lost and nothing twice, whoever is killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.chaos import fleet, harass
from tests.postgres import running_cluster

if TYPE_CHECKING:
    from pathlib import Path


def test_everything_is_killed_and_moved_once(tmp_path: Path) -> None:
    with running_cluster() as cluster, fleet(tmp_path, cluster, agents=4, rows=2500) as made:
        harass(made, agents=4, rounds=1, between=300)
