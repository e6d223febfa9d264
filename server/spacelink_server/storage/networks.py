"""Networks, their devices, and the tenants' own score profiles. Times are nanoseconds since 1970 UTC."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from spacelink_server.storage.schema import network_devices, networks, score_profiles

if TYPE_CHECKING:
    from collections.abc import Collection


class Network(NamedTuple):
    """A named set of devices.

    Attributes:
        network_id: names it.
        display_name: for people.
        sla: what was agreed about it, as JSON values.
        profile_id: the score profile; empty for the default one.
        create_time: when it was created.
    """

    network_id: str
    display_name: str
    sla: dict[str, Any]
    profile_id: str
    create_time: int


class ScoreProfile(NamedTuple):
    """A tenant's own score profile.

    Attributes:
        profile_id: names it.
        profile: what it asks for, as JSON values.
        create_time: when it was created.
    """

    profile_id: str
    profile: dict[str, Any]
    create_time: int


_n = networks.c
_d = network_devices.c
_p = score_profiles.c


def insert(connection: sa.Connection, tenant_id: str, network: Network) -> None:
    """Add a network that is not there yet."""
    connection.execute(sa.insert(networks).values((tenant_id, *_to_row(network))))


def update(connection: sa.Connection, tenant_id: str, network: Network) -> None:
    """Replace what is stored of a network."""
    values = dict(zip(networks.c.keys()[1:], _to_row(network), strict=True))
    connection.execute(
        sa.update(networks)
        .where(_n.tenant_id == tenant_id, _n.network_id == network.network_id)
        .values(values)
    )


def get(connection: sa.Connection, tenant_id: str, network_id: str) -> Network | None:
    """Read a network."""
    query = sa.select(networks).where(_n.tenant_id == tenant_id, _n.network_id == network_id)
    row = connection.execute(query).one_or_none()
    return _from_row(row) if row else None


def page(
    connection: sa.Connection, tenant_id: str, network_ids: Collection[str], after: str, limit: int
) -> list[Network]:
    """Read networks behind one, ordered by network_id.

    Args:
        connection: in any transaction.
        tenant_id: the tenant.
        network_ids: those wanted; none means all.
        after: the one they are behind; empty for the first.
        limit: the most to read.
    """
    query = sa.select(networks).where(_n.tenant_id == tenant_id, _n.network_id > after)
    if network_ids:
        query = query.where(_n.network_id.in_(network_ids))
    rows = connection.execute(query.order_by(_n.network_id).limit(limit))
    return [_from_row(row) for row in rows]


def add_devices(
    connection: sa.Connection, tenant_id: str, network_id: str, device_ids: Collection[str]
) -> None:
    """Add devices that are not there yet."""
    rows = [(tenant_id, network_id, device_id) for device_id in device_ids]
    if rows:
        columns = network_devices.c.keys()
        connection.execute(sa.insert(network_devices), [dict(zip(columns, row, strict=True)) for row in rows])


def remove_devices(
    connection: sa.Connection, tenant_id: str, network_id: str, device_ids: Collection[str]
) -> None:
    """Remove devices."""
    if device_ids:
        statement = sa.delete(network_devices).where(
            _d.tenant_id == tenant_id, _d.network_id == network_id, _d.device_id == sa.bindparam("device")
        )
        connection.execute(statement, [{"device": device_id} for device_id in device_ids])


def device_ids(
    connection: sa.Connection,
    tenant_id: str,
    network_id: str,
    *,
    after: str = "",
    limit: int | None = None,
) -> list[str]:
    """List the devices of a network behind one, in order; without a limit all of them."""
    query = (
        sa.select(_d.device_id)
        .where(_d.tenant_id == tenant_id, _d.network_id == network_id, _d.device_id > after)
        .order_by(_d.device_id)
        .limit(limit)
    )
    return list(connection.scalars(query))


def device_counts(connection: sa.Connection, tenant_id: str, network_ids: Collection[str]) -> dict[str, int]:
    """Count the devices of networks; one without any has no entry."""
    query = (
        sa.select(_d.network_id, sa.func.count())
        .where(_d.tenant_id == tenant_id, _d.network_id.in_(network_ids))
        .group_by(_d.network_id)
    )
    return dict(connection.execute(query).all())


def insert_profile(connection: sa.Connection, tenant_id: str, profile: ScoreProfile) -> None:
    """Add a score profile that is not there yet."""
    row = (tenant_id, profile.profile_id, json.dumps(profile.profile), profile.create_time)
    connection.execute(sa.insert(score_profiles).values(row))


def get_profile(connection: sa.Connection, tenant_id: str, profile_id: str) -> ScoreProfile | None:
    """Read a tenant's own score profile."""
    query = sa.select(_p.profile_id, _p.profile, _p.create_time_unix_nano).where(
        _p.tenant_id == tenant_id, _p.profile_id == profile_id
    )
    row = connection.execute(query).one_or_none()
    return _profile(row) if row else None


def profile_page(connection: sa.Connection, tenant_id: str, after: str, limit: int) -> list[ScoreProfile]:
    """Read a tenant's own score profiles behind one, ordered by profile_id."""
    query = (
        sa.select(_p.profile_id, _p.profile, _p.create_time_unix_nano)
        .where(_p.tenant_id == tenant_id, _p.profile_id > after)
        .order_by(_p.profile_id)
        .limit(limit)
    )
    return [_profile(row) for row in connection.execute(query)]


def _to_row(network: Network) -> tuple[Any, ...]:
    return tuple(network._replace(sla=json.dumps(network.sla)))  # type: ignore[arg-type]


def _from_row(row: Any) -> Network:
    network = Network(*row[1:])
    return network._replace(sla=json.loads(row.sla))


def _profile(row: Any) -> ScoreProfile:
    profile_id, profile, create_time = row
    return ScoreProfile(profile_id, json.loads(profile), create_time)
