from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from spacelink.v1 import network_pb2 as pb
from spacelink_server.errors import InvalidRequestError
from spacelink_server.networks.terms import profile_message, profile_of, terms_of
from spacelink_server.scoring import qoo
from spacelink_server.scoring.availability import UnknownTime

SECOND = 1_000_000_000


def objective(metric: str, target: float, severe: float, percentile: float = 0) -> pb.Objective:
    number = pb.ObjectiveMetric.Value(f"OBJECTIVE_METRIC_{metric}")
    return pb.Objective(metric=number, target=target, severe=severe, percentile=percentile)


def test_what_is_left_open_is_filled_in() -> None:
    terms = terms_of(pb.Sla(), "sla")
    assert (terms.sla.target_percent, terms.sla.min_outage_ns) == (99.9, 60 * SECOND)
    assert (terms.sla.max_gap_ns, terms.interval_ns) == (30 * SECOND, 300 * SECOND)
    assert terms.sla.unknown is UnknownTime.EXCLUDED
    assert terms.message.period == pb.SLA_PERIOD_MONTH
    # What is told is what is in force: read again, it says the same.
    assert terms_of(terms.message, "sla") == terms


def test_what_is_said_is_taken() -> None:
    window = pb.MaintenanceWindow(start_time=Timestamp(seconds=10), end_time=Timestamp(seconds=20))
    terms = terms_of(
        pb.Sla(
            availability_target_percent=100,
            period=pb.SLA_PERIOD_QUARTER,
            min_outage=Duration(seconds=1),
            unknown_time=pb.UNKNOWN_TIME_DOWN,
            maintenance_windows=[window],
            objectives=[objective("LATENCY_MS", 50, 100, 95), objective("QOO", 90, 10)],
            objective_interval=Duration(seconds=3600),
            max_sample_gap=Duration(seconds=3600),
        ),
        "sla",
    )
    assert (terms.sla.target_percent, terms.sla.min_outage_ns) == (100, SECOND)
    assert terms.sla.unknown is UnknownTime.DOWN
    assert terms.maintenance == ((10 * SECOND, 20 * SECOND),)
    assert [each.metric for each in terms.sla.objectives] == ["latency_p95_ms", "qoo"]
    assert terms.percentiles == (95,)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"availability_target_percent": 0}, "availability_target_percent"),
        ({"availability_target_percent": 100.1}, "availability_target_percent"),
        ({"availability_target_percent": float("nan")}, "availability_target_percent"),
        ({"period": 99}, "period"),
        ({"unknown_time": 99}, "unknown_time"),
        ({"min_outage": Duration()}, "min_outage"),
        ({"min_outage": Duration(seconds=1, nanos=1)}, "min_outage"),
        ({"min_outage": Duration(seconds=86_401)}, "min_outage"),
        ({"max_sample_gap": Duration(seconds=3_601)}, "max_sample_gap"),
        ({"objective_interval": Duration(seconds=90)}, "objective_interval"),
        ({"objective_interval": Duration(seconds=420)}, "objective_interval"),
        ({"objective_interval": Duration(seconds=2**62)}, "objective_interval"),
        ({"maintenance_windows": [pb.MaintenanceWindow()]}, "maintenance_windows[0].end_time"),
        ({"maintenance_windows": [pb.MaintenanceWindow()] * 1001}, "maintenance_windows"),
        ({"objectives": [objective("UNSPECIFIED", 1, 2)]}, "objectives[0].metric"),
        ({"objectives": [objective("LATENCY_MS", 1, 2)]}, "objectives[0].percentile"),
        ({"objectives": [objective("LATENCY_MS", 1, float("inf"), 50)]}, "objectives[0].severe"),
        ({"objectives": [objective("QOO", 90, 10, 5)]}, "objectives[0].percentile"),
        ({"objectives": [objective("QOO", 10, 90)]}, "objectives[0].severe"),
        ({"objectives": [objective("QOO", 101, 90)]}, "objectives[0].target"),
        ({"objectives": [objective("PACKET_LOSS_PERCENT", 2, 2)]}, "objectives[0].severe"),
        ({"objectives": [objective("PACKET_LOSS_PERCENT", 2, 1)]}, "objectives[0].severe"),
        ({"objectives": [objective("QOO", 90, 10), objective("QOO", 80, 10)]}, "objectives[1]"),
        ({"objectives": [objective("QOO", 90, 10)] * 17}, "objectives"),
    ],
)
def test_a_wrong_sla_is_refused_by_field(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        terms_of(pb.Sla(**fields), "network.sla")
    assert caught.value.field == f"network.sla.{field}"


def latency(percentile: float, perfect: float, useless: float) -> pb.LatencyRequirement:
    return pb.LatencyRequirement(percentile=percentile, perfect_ms=perfect, useless_ms=useless)


def loss(perfect: float, useless: float) -> pb.LossRequirement:
    return pb.LossRequirement(perfect_percent=perfect, useless_percent=useless)


def test_profiles_are_the_same_after_a_round_trip() -> None:
    for profile in qoo.PROFILES.values():
        message = profile_message(profile, "x", built_in=True)
        assert profile_of(message, "profile") == profile


def test_percentiles_may_come_in_any_order() -> None:
    message = pb.ScoreProfile(profile_id="own", latency=[latency(99, 10, 20), latency(50, 1, 2)])
    assert profile_of(message, "profile").percentiles == (50, 99)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"profile_id": "a b"}, "profile.profile_id"),
        ({}, "profile"),
        ({"latency": [latency(0, 1, 2)]}, "profile.latency[0].percentile"),
        ({"latency": [latency(101, 1, 2)]}, "profile.latency[0].percentile"),
        ({"latency": [latency(50, 2, 2)]}, "profile.latency[0]"),
        ({"latency": [latency(50, -1, 2)]}, "profile.latency[0]"),
        ({"latency": [latency(50, float("nan"), 2)]}, "profile.latency[0]"),
        ({"latency": [latency(50, 1, 2), latency(50, 2, 3)]}, "profile.latency[1].percentile"),
        ({"latency": [latency(50, 1, 2)] * 9}, "profile.latency"),
        ({"packet_loss": loss(2, 1)}, "profile.packet_loss"),
        ({"packet_loss": loss(1, 101)}, "profile.packet_loss"),
        ({"packet_loss": loss(0, 1), "min_downlink_mbps": -1}, "profile.min_downlink_mbps"),
        ({"min_downlink_mbps": float("inf")}, "profile.min_downlink_mbps"),
    ],
)
def test_a_wrong_profile_is_refused_by_field(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        profile_of(pb.ScoreProfile(**{"profile_id": "own", **fields}), "profile")
    assert caught.value.field == field
