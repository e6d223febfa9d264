"""Networks and score profiles as they are stored: the terms in force, and the profiles to score by."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import grpc
from google.protobuf import json_format

from spacelink.v1 import network_pb2 as pb
from spacelink_server.errors import InvalidRequestError, RequestError
from spacelink_server.networks import terms
from spacelink_server.scoring import qoo
from spacelink_server.storage import networks

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from spacelink_server.networks.terms import Terms
    from spacelink_server.storage.networks import Network, ScoreProfile
    from spacelink_server.storage.transactions import Connection

# The most devices of one network: a thousand sites ten times over, and an answer
# about all of them can still be computed while its caller waits.
MAX_DEVICES = 10_000

# What the built-in profiles are for.
_DISPLAY_NAMES = MappingProxyType(
    {
        "leo": "a healthy terminal in low earth orbit",
        "voice": "calls",
        "video": "video conferences and streams",
        "bulk": "backups and large files",
    }
)


class Subject(NamedTuple):
    """What is asked about: devices of a network, and how they are judged.

    Attributes:
        network: as it is stored.
        terms: its SLA.
        profile: what it is scored by.
        device_ids: in order.
    """

    network: Network
    terms: Terms
    profile: qoo.Profile
    device_ids: Sequence[str]


def find(connection: Connection, tenant_id: str, network_id: str) -> Network:
    """Read a network.

    Raises:
        RequestError: there is none.
    """
    network = networks.get(connection, tenant_id, network_id)
    if network is None:
        raise RequestError(
            grpc.StatusCode.NOT_FOUND, "NETWORK_NOT_FOUND", f"network_id: there is no network {network_id!r}"
        )
    return network


def subject(
    connection: Connection,
    tenant_id: str,
    network_id: str,
    device_ids: Collection[str],
    profile_id: str = "",
) -> Subject:
    """Read a network and what it is judged by.

    Args:
        connection: in any transaction.
        tenant_id: the tenant.
        network_id: the network.
        device_ids: only these of its devices; none means all.
        profile_id: what to score by; empty means the network's own profile.

    Raises:
        RequestError: there is no such network.
        InvalidRequestError: it has no such device, or there is no such profile.
    """
    network = find(connection, tenant_id, network_id)
    members = networks.device_ids(connection, tenant_id, network_id)
    chosen = members
    if device_ids:
        strangers = set(device_ids).difference(members)
        if strangers:
            raise InvalidRequestError("device_ids", f"{min(strangers)!r} is not in network {network_id!r}")
        chosen = sorted(set(device_ids))
    profile = find_profile(connection, tenant_id, profile_id or network.profile_id, "profile_id")
    return Subject(network, stored_terms(network), profile, chosen)


def find_profile(connection: Connection, tenant_id: str, profile_id: str, field: str) -> qoo.Profile:
    """Give a built-in profile or the tenant's own; the default one for an empty name.

    Raises:
        InvalidRequestError: there is none of this name.
    """
    name = profile_id or terms.DEFAULT_PROFILE
    if name in qoo.PROFILES:
        return qoo.PROFILES[name]
    found = networks.get_profile(connection, tenant_id, name)
    if found is None:
        known = ", ".join(qoo.PROFILES)
        raise InvalidRequestError(
            field, f"there is no score profile {name!r}; expected {known} or one of the tenant's own"
        )
    return terms.profile_of(own_profile_message(found), field)


def built_in_profiles() -> list[pb.ScoreProfile]:
    """Give the profiles that every tenant has."""
    return [
        terms.profile_message(profile, _DISPLAY_NAMES.get(name, ""), built_in=True)
        for name, profile in qoo.PROFILES.items()
    ]


def own_profile_message(profile: ScoreProfile) -> pb.ScoreProfile:
    """Give a stored profile as a message."""
    return json_format.ParseDict(profile.profile, pb.ScoreProfile(), ignore_unknown_fields=True)


def to_json(message: pb.Sla | pb.ScoreProfile) -> dict[str, object]:
    """Give a message as it is stored."""
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def stored_terms(network: Network) -> Terms:
    """Give the SLA of a network."""
    return terms.terms_of(sla_message(network.sla), "sla")


def sla_message(sla: Mapping[str, object]) -> pb.Sla:
    """Give a stored SLA as a message."""
    return json_format.ParseDict(dict(sla), pb.Sla(), ignore_unknown_fields=True)
