"""What was agreed about a network and what is asked of it: messages of the contract as scoring's types.

Every function that takes a message checks it, and raises InvalidRequestError
naming the field.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spacelink._names import IDENTIFIER_RULE, is_identifier
from spacelink.v1 import network_pb2 as pb
from spacelink_server.errors import InvalidRequestError
from spacelink_server.scoring import availability, qoo
from spacelink_server.scoring.availability import UnknownTime

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.timestamp_pb2 import Timestamp

DEFAULT_PROFILE = "leo"

_NANOS = 1_000_000_000
_MINUTE = 60 * _NANOS
_DAY = 86_400 * _NANOS

_DEFAULT_TARGET_PERCENT = 99.9
_DEFAULT_INTERVAL = 5 * _MINUTE
_MAX_SECONDS = {"min_outage": 86_400, "max_sample_gap": 3_600}

_MAX_WINDOWS = 1000
_MAX_OBJECTIVES = 16
_MAX_PERCENTILES = 8
_MAX_TEXT = 1000

# Times are 64-bit integers.
_MAX_NANOS = 2**63 - 1

_UNKNOWN = {
    pb.UNKNOWN_TIME_UNSPECIFIED: UnknownTime.EXCLUDED,
    pb.UNKNOWN_TIME_UP: UnknownTime.UP,
    pb.UNKNOWN_TIME_DOWN: UnknownTime.DOWN,
    pb.UNKNOWN_TIME_EXCLUDED: UnknownTime.EXCLUDED,
}


@dataclass(frozen=True, slots=True)
class Terms:
    """An SLA in force.

    Attributes:
        message: with all that was left open filled in.
        sla: as scoring takes it.
        maintenance: half-open windows in nanoseconds since 1970 UTC.
        interval_ns: the length of the intervals of objectives.
        percentiles: those of latency that objectives are about, rising.
    """

    message: pb.Sla
    sla: availability.Sla
    maintenance: tuple[tuple[int, int], ...]
    interval_ns: int
    percentiles: tuple[float, ...]


def terms_of(message: pb.Sla, field: str) -> Terms:
    """Check an SLA and fill in what it leaves open.

    Args:
        message: the SLA.
        field: its path in the request.

    Raises:
        InvalidRequestError: names the field.
    """
    filled = pb.Sla()
    filled.CopyFrom(message)
    if not filled.HasField("availability_target_percent"):
        filled.availability_target_percent = _DEFAULT_TARGET_PERCENT
    if not 0 < filled.availability_target_percent <= 100:
        raise InvalidRequestError(f"{field}.availability_target_percent", "expected above 0 and up to 100")
    _require_known(pb.SlaPeriod, filled.period, f"{field}.period")
    filled.period = filled.period or pb.SLA_PERIOD_MONTH
    _require_known(pb.UnknownTime, filled.unknown_time, f"{field}.unknown_time")
    filled.unknown_time = filled.unknown_time or pb.UNKNOWN_TIME_EXCLUDED
    objectives = _objectives(filled, f"{field}.objectives")
    sla = availability.Sla(
        target_percent=filled.availability_target_percent,
        min_outage_ns=_seconds(filled, "min_outage", availability.DEFAULT_MIN_OUTAGE_NS, field),
        max_gap_ns=_seconds(filled, "max_sample_gap", availability.DEFAULT_MAX_GAP_NS, field),
        unknown=_UNKNOWN[filled.unknown_time],
        objectives=objectives,
    )
    latency = (each.percentile for each in filled.objectives if each.metric == pb.OBJECTIVE_METRIC_LATENCY_MS)
    maintenance = _windows(filled, f"{field}.maintenance_windows")
    interval = _interval(filled, f"{field}.objective_interval")
    return Terms(filled, sla, maintenance, interval, tuple(sorted(latency)))


def profile_of(message: pb.ScoreProfile, field: str) -> qoo.Profile:
    """Check a score profile.

    Args:
        message: the profile.
        field: its path in the request.

    Raises:
        InvalidRequestError: names the field.
    """
    if not is_identifier(message.profile_id):
        raise InvalidRequestError(f"{field}.profile_id", f"expected {IDENTIFIER_RULE}")
    latency = _latency(message, f"{field}.latency")
    loss = None
    if message.HasField("packet_loss"):
        perfect, useless = message.packet_loss.perfect_percent, message.packet_loss.useless_percent
        if not 0 <= perfect < useless <= 100:
            raise InvalidRequestError(
                f"{field}.packet_loss", "expected 0 <= perfect_percent < useless_percent <= 100"
            )
        loss = qoo.LossRequirement(perfect, useless)
    throughput = message.min_downlink_mbps
    if not 0 <= throughput < math.inf:
        raise InvalidRequestError(f"{field}.min_downlink_mbps", "expected 0, for none, or more")
    if not (latency or loss or throughput):
        raise InvalidRequestError(field, "it asks for nothing; expected latency, packet_loss or a downlink")
    return qoo.Profile(message.profile_id, latency, loss, throughput or None)


def profile_message(profile: qoo.Profile, display_name: str, *, built_in: bool) -> pb.ScoreProfile:
    """Give a profile as a message."""
    message = pb.ScoreProfile(
        profile_id=profile.name,
        display_name=display_name,
        min_downlink_mbps=profile.minimum_throughput_mbps or 0,
        built_in=built_in,
    )
    for each in profile.latency:
        message.latency.add(percentile=each.percentile, perfect_ms=each.rop_ms, useless_ms=each.cpup_ms)
    if profile.loss is not None:
        message.packet_loss.perfect_percent = profile.loss.rop_percent
        message.packet_loss.useless_percent = profile.loss.cpup_percent
    return message


def metric_name(objective: pb.Objective) -> str:
    """Name what an objective is about, as scoring names it."""
    if objective.metric == pb.OBJECTIVE_METRIC_LATENCY_MS:
        return f"latency_p{objective.percentile:g}_ms"
    return "qoo" if objective.metric == pb.OBJECTIVE_METRIC_QOO else "packet_loss_percent"


def moment_of(field: str, time: Timestamp) -> int:
    """Give a time in nanoseconds since 1970 UTC, none before 1970: no sample is older.

    Raises:
        InvalidRequestError: it does not fit into 64 bits.
    """
    nanos = time.seconds * _NANOS + time.nanos
    if not (0 <= time.nanos < _NANOS and -_MAX_NANOS <= nanos <= _MAX_NANOS):
        raise InvalidRequestError(field, "expected a time from 1677 to 2262")
    return max(nanos, 0)


def duration_of(field: str, length: Duration) -> int:
    """Give a length of time in nanoseconds.

    Raises:
        InvalidRequestError: it does not fit into 64 bits.
    """
    nanos = length.seconds * _NANOS + length.nanos
    if abs(nanos) > _MAX_NANOS:
        raise InvalidRequestError(field, "expected at most 292 years")
    return nanos


def whole_minutes(field: str, length: Duration) -> int:
    """Give in nanoseconds a length that divides a day and is made of whole minutes.

    Raises:
        InvalidRequestError: it is another length.
    """
    nanos = duration_of(field, length)
    if nanos <= 0 or nanos % _MINUTE or _DAY % nanos:
        raise InvalidRequestError(field, "expected whole minutes that divide a day, such as 300s")
    return nanos


def _require_known(enum: type[pb.SlaPeriod] | type[pb.UnknownTime], number: int, field: str) -> None:
    if number not in enum.values():
        raise InvalidRequestError(field, f"expected one of {', '.join(enum.keys()[1:])}")


def _seconds(sla: pb.Sla, name: str, default: int, field: str) -> int:
    """Take whole seconds, and fill in what they are where they are left open."""
    length: Duration = getattr(sla, name)
    if not sla.HasField(name):  # type: ignore[arg-type]  # one of two names, given as literals
        length.FromNanoseconds(default)
    if length.nanos or not 1 <= length.seconds <= _MAX_SECONDS[name]:
        raise InvalidRequestError(f"{field}.{name}", f"expected whole seconds from 1 to {_MAX_SECONDS[name]}")
    return length.ToNanoseconds()


def _interval(sla: pb.Sla, field: str) -> int:
    if not sla.HasField("objective_interval"):
        sla.objective_interval.FromNanoseconds(_DEFAULT_INTERVAL)
    return whole_minutes(field, sla.objective_interval)


def _windows(sla: pb.Sla, field: str) -> tuple[tuple[int, int], ...]:
    if len(sla.maintenance_windows) > _MAX_WINDOWS:
        raise InvalidRequestError(field, f"expected at most {_MAX_WINDOWS}")
    windows = []
    for index, window in enumerate(sla.maintenance_windows):
        path = f"{field}[{index}]"
        start = moment_of(f"{path}.start_time", window.start_time)
        end = moment_of(f"{path}.end_time", window.end_time)
        if not start < end:
            raise InvalidRequestError(f"{path}.end_time", "expected a time after start_time")
        if len(window.description) > _MAX_TEXT:
            raise InvalidRequestError(f"{path}.description", f"expected at most {_MAX_TEXT} characters")
        windows.append((start, end))
    return tuple(windows)


def _objectives(sla: pb.Sla, field: str) -> tuple[availability.Objective, ...]:
    if len(sla.objectives) > _MAX_OBJECTIVES:
        raise InvalidRequestError(field, f"expected at most {_MAX_OBJECTIVES}")
    found: dict[str, availability.Objective] = {}
    for index, objective in enumerate(sla.objectives):
        path = f"{field}[{index}]"
        _check_objective(objective, path)
        name = metric_name(objective)
        if name in found:
            raise InvalidRequestError(path, f"there is an objective on {name} already")
        found[name] = availability.Objective(name, objective.target, objective.severe)
    return tuple(found.values())


def _check_objective(objective: pb.Objective, path: str) -> None:
    metrics = pb.ObjectiveMetric.values()
    if objective.metric not in metrics or objective.metric == pb.OBJECTIVE_METRIC_UNSPECIFIED:
        raise InvalidRequestError(
            f"{path}.metric", f"expected one of {', '.join(pb.ObjectiveMetric.keys()[1:])}"
        )
    if objective.metric == pb.OBJECTIVE_METRIC_LATENCY_MS:
        if not 0 < objective.percentile <= 100:
            raise InvalidRequestError(f"{path}.percentile", "expected above 0 and up to 100")
    elif objective.percentile != 0:
        raise InvalidRequestError(f"{path}.percentile", "expected 0: only latency has percentiles")
    highest = math.inf if objective.metric == pb.OBJECTIVE_METRIC_LATENCY_MS else 100
    for name in ("target", "severe"):
        if not 0 <= getattr(objective, name) <= highest or math.isinf(getattr(objective, name)):
            raise InvalidRequestError(f"{path}.{name}", f"expected 0 to {highest:g}")
    higher_is_better = objective.metric == pb.OBJECTIVE_METRIC_QOO
    if objective.severe == objective.target or (objective.severe < objective.target) != higher_is_better:
        side = "below" if higher_is_better else "above"
        raise InvalidRequestError(f"{path}.severe", f"expected a value {side} target")


def _latency(message: pb.ScoreProfile, field: str) -> tuple[qoo.LatencyRequirement, ...]:
    if len(message.latency) > _MAX_PERCENTILES:
        raise InvalidRequestError(field, f"expected at most {_MAX_PERCENTILES}")
    found: dict[float, qoo.LatencyRequirement] = {}
    for index, each in enumerate(message.latency):
        path = f"{field}[{index}]"
        if not 0 < each.percentile <= 100:
            raise InvalidRequestError(f"{path}.percentile", "expected above 0 and up to 100")
        if each.percentile in found:
            raise InvalidRequestError(f"{path}.percentile", f"there is one for {each.percentile:g} already")
        if not 0 <= each.perfect_ms < each.useless_ms < math.inf:
            raise InvalidRequestError(path, "expected 0 <= perfect_ms < useless_ms")
        found[each.percentile] = qoo.LatencyRequirement(each.percentile, each.perfect_ms, each.useless_ms)
    return tuple(found[percentile] for percentile in sorted(found))
