"""What is found about networks as messages of the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from google.protobuf.duration_pb2 import Duration

from spacelink.v1 import network_pb2 as pb
from spacelink_server.networks import catalog
from spacelink_server.networks.measures import VOICE_CODEC
from spacelink_server.networks.sla import Tally
from spacelink_server.services import _requests

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spacelink_server.networks.health import Health, Scored
    from spacelink_server.networks.sla import DeviceSla, Outage, SlaReport
    from spacelink_server.networks.trend import Point, Trend
    from spacelink_server.scoring.qoo import Profile
    from spacelink_server.storage.incidents import Incident
    from spacelink_server.storage.networks import Network

_MINUTE = 60 * 1_000_000_000

# Differences of binary fractions are off by less than this.
_DECIMALS = 9

# Of one device; a page of devices must fit into a message.
_MAX_OUTAGES = 1000


def network(row: Network, device_count: int) -> pb.Network:
    """Give a network as a message."""
    return pb.Network(
        network_id=row.network_id,
        display_name=row.display_name,
        sla=catalog.sla_message(row.sla),
        profile_id=row.profile_id,
        device_count=device_count,
        create_time=_requests.timestamp(row.create_time),
    )


def network_health(scored: Scored, device_ids: list[str]) -> pb.NetworkHealth:
    """Give the health of a network in a range: that of its worst device."""
    message = pb.NetworkHealth(
        start_time=_requests.timestamp(scored.start),
        end_time=_requests.timestamp(scored.end),
        median_score=scored.median,
        device_count=len(device_ids),
        scored_device_count=int((~np.isnan(scored.scores.qoo)).sum()),
        silent_device_count=int((scored.measures.sample_count == 0).sum()),
    )
    if scored.worst is not None:
        score = health_score(scored, scored.worst)
        message.score = score.score
        message.worst_device.CopyFrom(pb.DeviceScore(device_id=device_ids[scored.worst], score=score))
    return message


def device_health(found: Health, row: int) -> pb.DeviceHealth:
    """Give the health of a device."""
    last = int(found.window.measures.last_time[row])
    return pb.DeviceHealth(
        device_id=found.subject.device_ids[row],
        now=health_score(found.now, row),
        window=health_score(found.window, row),
        last_sample_time=_requests.timestamp(last or None),
    )


def health_score(scored: Scored, row: int) -> pb.HealthScore:
    """Give the score of a device with all that made it."""
    samples = int(scored.measures.sample_count[row])
    offline = int(scored.measures.offline_count[row])
    message = pb.HealthScore(
        score=_optional(scored.scores.qoo[row]),
        missing_inputs=scored.scores.missing(row),
        sample_count=samples,
        offline_sample_percent=100 * offline / samples if samples else 0,
    )
    measured, scores = scored.scores.measured[row], scored.scores.items[row]
    bounds = _bounds(scored.scores.profile)
    for name, value, score, (perfect, useless) in zip(
        scored.scores.profile.items, measured.tolist(), scores.tolist(), bounds, strict=True
    ):
        if not np.isnan(score):
            message.items.add(input=name, measured=value, score=score, perfect=perfect, useless=useless)
    if not np.isnan(scored.voice.r_factor[row]):
        message.voice.CopyFrom(_voice(scored, row))
    return message


def sla_response(report: SlaReport) -> pb.GetNetworkSlaResponse:
    """Give the SLA of a network, without its devices."""
    subject = report.subject
    return pb.GetNetworkSlaResponse(
        network_id=subject.network.network_id,
        display_name=subject.network.display_name,
        sla=subject.terms.message,
        profile_id=subject.profile.name,
        start_time=_requests.timestamp(report.start),
        end_time=_requests.timestamp(report.end),
        evaluated_until_time=_requests.timestamp(report.until),
        network=_network_sla(report),
        scheme=pb.NETWORK_SCHEME_WORST_DEVICE,
    )


def device_sla(found: DeviceSla, report: SlaReport) -> pb.DeviceSla:
    """Give the SLA of a device."""
    terms = report.subject.terms
    message = pb.DeviceSla(
        device_id=found.device_id,
        compliant=found.is_compliant,
        availability_percent=found.percent,
        down=_duration(found.outage_ns),
        dips=_duration(found.dip_ns),
        unknown=_duration(found.unknown_ns),
        maintenance=_duration(found.maintenance_ns),
        excluded=_duration(found.excluded_ns),
        error_budget_minutes=found.budget_ns / _MINUTE,
        error_budget_used_minutes=found.outage_ns / _MINUTE,
        error_budget_left_minutes=(found.budget_ns - found.outage_ns) / _MINUTE,
        outages=[_outage(outage) for outage in found.outages[:_MAX_OUTAGES]],
        outage_count=len(found.outages),
        dip_count=found.dip_count,
        objectives=_objectives(terms.message.objectives, found.objectives),
    )
    if found.percent is not None:
        message.margin_percent = round(found.percent - terms.sla.target_percent, _DECIMALS)
    if found.all_objectives is not None:
        message.all_objectives.CopyFrom(_result(None, found.all_objectives))
    return message


def trend_response(
    network_id: str, metric: str, profile: Profile, found: Trend
) -> pb.GetNetworkTrendResponse:
    """Give a series."""
    current, previous = found.current, found.previous
    errors = [point.relative_error for point in (*found.points, current, previous) if point]
    message = pb.GetNetworkTrendResponse(
        network_id=network_id,
        metric=metric,
        start_time=_requests.timestamp(found.start),
        end_time=_requests.timestamp(found.end),
        step=_duration(found.step),
        points=[_point(point) for point in found.points],
        current=_point(current) if current else None,
        previous=_point(previous) if previous else None,
        percentile_relative_error=max(errors, default=0),
        profile_id=profile.name,
    )
    if current and previous:
        message.p50_change = current.p50 - previous.p50
        message.p95_change = current.p95 - previous.p95
    return message


def incident(row: Incident) -> pb.Incident:
    """Give an incident."""
    return pb.Incident(
        incident_id=row.incident_id,
        device_id=row.device_id,
        cause=row.cause,  # type: ignore[arg-type]  # stored as the number it is
        start_time=_requests.timestamp(row.start_time),
        detect_time=_requests.timestamp(row.detect_time),
        end_time=_requests.timestamp(row.end_time),
        measured=row.measured,
        threshold=row.threshold,
    )


def _network_sla(report: SlaReport) -> pb.NetworkSla:
    worst = next((device for device in report.devices if device.percent is not None), None)
    terms = report.subject.terms
    message = pb.NetworkSla(
        compliant=all(device.is_compliant for device in report.devices),
        availability_percent=worst.percent if worst else None,
        worst_device_id=worst.device_id if worst else "",
        pooled_availability_percent=report.pooled_percent,
        device_count=len(report.devices),
        compliant_device_count=sum(device.is_compliant for device in report.devices),
        unknown_device_count=sum(device.percent is None for device in report.devices),
        outage_count=sum(len(device.outages) for device in report.devices),
    )
    if terms.sla.objectives:
        zero = Tally(0, 0, 0)
        by_objective = zip(*(device.objectives for device in report.devices), strict=True)
        message.objectives.extend(
            _objectives(terms.message.objectives, [sum(tallies, zero) for tallies in by_objective])
        )
        together = (device.all_objectives or zero for device in report.devices)
        message.all_objectives.CopyFrom(_result(None, sum(together, zero)))
    return message


def _objectives(objectives: Iterable[pb.Objective], tallies: Iterable[Tally]) -> list[pb.ObjectiveResult]:
    return [_result(objective, tally) for objective, tally in zip(objectives, tallies, strict=False)]


def _result(objective: pb.Objective | None, tally: Tally) -> pb.ObjectiveResult:
    count = tally.met + tally.violated + tally.severely_violated
    return pb.ObjectiveResult(
        objective=objective,
        interval_count=count,
        met_interval_count=tally.met,
        violated_interval_count=tally.violated,
        severely_violated_interval_count=tally.severely_violated,
        violated_percent=100 * (tally.violated + tally.severely_violated) / count if count else 0,
        severely_violated_percent=100 * tally.severely_violated / count if count else 0,
    )


def _outage(found: Outage) -> pb.Outage:
    return pb.Outage(
        start_time=_requests.timestamp(found.start),
        end_time=_requests.timestamp(found.end),
        length=_duration(found.end - found.start),
        counted=_duration(found.counted_ns),
        cause=found.cause,
        began_before=found.began_before,
        goes_on=found.goes_on,
    )


def _point(found: Point) -> pb.TrendPoint:
    return pb.TrendPoint(
        start_time=_requests.timestamp(found.start),
        count=found.value_count,
        p50=found.p50,
        p95=found.p95,
        min=found.minimum,
        max=found.maximum,
    )


def _voice(scored: Scored, row: int) -> pb.VoiceScore:
    return pb.VoiceScore(
        r_factor=scored.voice.r_factor[row],
        mos=scored.voice.mos[row],
        codec=VOICE_CODEC,
        one_way_delay_ms=scored.voice.one_way_delay_ms[row],
        packet_loss_percent=scored.measures.loss_percent[row],
        burst_ratio=scored.measures.burst_ratio[row],
    )


def _bounds(profile: Profile) -> list[tuple[float, float]]:
    """Give where each item of a profile is perfect, and where it is useless."""
    bounds = [(each.rop_ms, each.cpup_ms) for each in profile.latency]
    if profile.loss is not None:
        bounds.append((profile.loss.rop_percent, profile.loss.cpup_percent))
    if profile.minimum_throughput_mbps is not None:
        bounds.append((profile.minimum_throughput_mbps, profile.minimum_throughput_mbps))
    return bounds


def _optional(value: float) -> float | None:
    return None if np.isnan(value) else value


def _duration(nanos: int) -> Duration:
    message = Duration()
    message.FromNanoseconds(nanos)
    return message
