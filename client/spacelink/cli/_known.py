"""Metrics and devices that a question names but nobody knows."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import click

from spacelink._names import METRIC_NAME_RULE, is_metric_name
from spacelink.columns import METRICS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from spacelink import SpaceLinkClient
    from spacelink.columns import TelemetryColumns

SAMPLED = (*METRICS, "status")


class Seen:
    """Devices and metrics that an answer holds."""

    def __init__(self) -> None:
        self.device_ids: set[str] = set()
        self.metrics: set[str] = set()

    def each(self, batches: Iterable[TelemetryColumns]) -> Iterator[TelemetryColumns]:
        """Give the batches, and take note of what is in them."""
        for samples in batches:
            self.device_ids.add(samples.device_id)
            self.metrics.update(samples.metrics)
            yield samples


def check_metrics(ctx: click.Context, param: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse what can be no metric's name."""
    for name in names:
        if not is_metric_name(name):
            raise click.BadParameter(
                f"{name!r}: expected {METRIC_NAME_RULE}; {_known(name, SAMPLED)}", ctx, param
            )
    return names


def warn_of_metrics(
    asked: Iterable[str], found: Collection[str], what: str, known: Collection[str] = SAMPLED
) -> None:
    """Say which metrics nothing was found of, but for those that any sample may have.

    Devices may send metrics of any name, so that such a one is no error.

    Args:
        asked: the metrics asked for.
        found: those in the answer.
        what: what there is none of, such as "no sample in the range has it".
        known: names that need no word.
    """
    for name in asked:
        if name not in known and name not in found:
            click.echo(f"unknown metric {name}: {what}; {_known(name, known)}", err=True)


def _known(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, 1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{hint}Known are {', '.join(known)}, and what else devices sent"


def unknown_devices(client: SpaceLinkClient, asked: Iterable[str], found: Collection[str]) -> list[str]:
    """Give the devices asked for of which the server has no sample at all.

    Args:
        client: of the server.
        asked: the devices asked for.
        found: those that there is an answer about.
    """
    missing = [device_id for device_id in dict.fromkeys(asked) if device_id not in found]
    if not missing:
        return []
    known = {sample.device_id for sample in client.list_latest_telemetry(missing)}
    return [device_id for device_id in missing if device_id not in known]


def end_on_unknown(device_ids: Iterable[str]) -> None:
    """Name devices that the server does not know, and end with status 1 if there are any."""
    unknown = list(device_ids)
    for device_id in unknown:
        click.echo(f"unknown device {device_id}: the server has no sample of it", err=True)
    if unknown:
        click.get_current_context().exit(1)
