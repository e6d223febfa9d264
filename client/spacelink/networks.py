"""Networks: what they are, what was agreed about them, and what is found about them.

Times are datetimes in UTC, or None where there is none; lengths of time are
timedeltas. What was not measured is None.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class LatencyRequirement:
    """What a score profile asks of a percentile of round-trip time.

    Attributes:
        percentile: above 0 and up to 100.
        perfect_ms: up to this latency it is perfect.
        useless_ms: from this latency on it is useless.
    """

    percentile: float
    perfect_ms: float
    useless_ms: float


@dataclass(frozen=True, slots=True)
class LossRequirement:
    """What a score profile asks of mean packet loss.

    Attributes:
        perfect_percent: up to this loss it is perfect.
        useless_percent: from this loss on it is useless.
    """

    perfect_percent: float
    useless_percent: float


@dataclass(frozen=True, slots=True)
class ScoreProfile:
    """What an application asks of its network; see draft-ietf-ippm-qoo.

    Attributes:
        profile_id: names it.
        latency: what it asks of latency.
        packet_loss: what it asks of loss; None for nothing.
        min_downlink_mbps: the downlink it needs; 0 for none.
        display_name: for people.
        built_in: whether every tenant has it.
    """

    profile_id: str
    latency: tuple[LatencyRequirement, ...] = ()
    packet_loss: LossRequirement | None = None
    min_downlink_mbps: float = 0.0
    display_name: str = ""
    built_in: bool = False


@dataclass(frozen=True, slots=True)
class MaintenanceWindow:
    """A half-open range of planned maintenance.

    Attributes:
        start_time: inclusive.
        end_time: exclusive.
        description: for people.
    """

    start_time: datetime
    end_time: datetime
    description: str = ""


@dataclass(frozen=True, slots=True)
class Objective:
    """A value to be met in each interval.

    Attributes:
        metric: "latency_ms", "packet_loss_percent" or "qoo".
        target: latency and loss must not be above it, Quality of Outcome not below.
        severe: the value past which an interval is severely violated.
        percentile: of latency, above 0 and up to 100; 0 for other metrics.
    """

    metric: str
    target: float
    severe: float
    percentile: float = 0.0


@dataclass(frozen=True, slots=True)
class Sla:
    """What was agreed about each device of a network.

    Attributes:
        availability_target_percent: the availability to reach.
        period: the calendar period it is to be reached in, in UTC: "day",
            "week", "month", "quarter" or "year".
        min_outage: from which length on an outage counts.
        unknown_time: how time without telemetry counts: "up", "down" or
            "excluded".
        max_sample_gap: how far apart samples may be without the time between
            them being unknown.
        maintenance_windows: what is left out.
        objectives: what else is to be met in each interval.
        objective_interval: whole minutes that divide a day.
    """

    availability_target_percent: float | None = 99.9
    period: str = "month"
    min_outage: timedelta = timedelta(seconds=60)
    unknown_time: str = "excluded"
    max_sample_gap: timedelta = timedelta(seconds=30)
    maintenance_windows: tuple[MaintenanceWindow, ...] = ()
    objectives: tuple[Objective, ...] = ()
    objective_interval: timedelta = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Network:
    """A named set of devices.

    Attributes:
        network_id: names it.
        display_name: for people.
        sla: what was agreed about it.
        profile_id: its score profile; empty means "leo".
        device_count: how many devices it has.
        create_time: when it was created.
    """

    network_id: str
    display_name: str = ""
    sla: Sla = field(default_factory=Sla)
    profile_id: str = ""
    device_count: int = 0
    create_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class ScoreItem:
    """The score of one input.

    Attributes:
        input: such as "latency_p95_ms" or "packet_loss_percent".
        measured: its value.
        score: 0 to 100.
        perfect: up to which value it is perfect.
        useless: from which value on it is useless.
    """

    input: str
    measured: float
    score: float
    perfect: float
    useless: float


@dataclass(frozen=True, slots=True)
class VoiceScore:
    """The quality of a call by the E-model, ITU-T G.107.

    Attributes:
        r_factor: the transmission rating R.
        mos: the mean opinion score estimated from it, 1 to 4.5.
        codec: the codec it is for.
        one_way_delay_ms: mouth to ear.
        packet_loss_percent: mean loss.
        burst_ratio: how bursty it is; 1 where losses are independent.
    """

    r_factor: float
    mos: float
    codec: str
    one_way_delay_ms: float
    packet_loss_percent: float
    burst_ratio: float


@dataclass(frozen=True, slots=True)
class HealthScore:
    """A Quality of Outcome with all that made it.

    Attributes:
        score: the lowest score of all items, 0 to 100; None where there is none.
        items: the inputs that were scored.
        missing_inputs: those that were not measured.
        sample_count: how many samples there are.
        voice: voice quality; None where an input is missing.
        offline_sample_percent: the share of samples that say that the terminal is offline.
    """

    score: float | None
    items: tuple[ScoreItem, ...]
    missing_inputs: tuple[str, ...]
    sample_count: int
    voice: VoiceScore | None
    offline_sample_percent: float


@dataclass(frozen=True, slots=True)
class DeviceScore:
    """A device's score in a range.

    Attributes:
        device_id: the device.
        score: its score.
    """

    device_id: str
    score: HealthScore


@dataclass(frozen=True, slots=True)
class NetworkHealth:
    """The health of a network in a range.

    Attributes:
        start_time: the range's start, inclusive.
        end_time: its end, exclusive.
        score: that of the worst device; None where no device has one.
        worst_device: the worst device and what made its score.
        median_score: the median of the devices' scores.
        device_count: how many devices there are.
        scored_device_count: how many have a score.
        silent_device_count: how many sent nothing.
    """

    start_time: datetime
    end_time: datetime
    score: float | None
    worst_device: DeviceScore | None
    median_score: float | None
    device_count: int
    scored_device_count: int
    silent_device_count: int


@dataclass(frozen=True, slots=True)
class DeviceHealth:
    """The health of a device.

    Attributes:
        device_id: the device.
        now: in the last two minutes of the range.
        window: in the whole range.
        last_sample_time: the time of its newest sample in the range.
    """

    device_id: str
    now: HealthScore
    window: HealthScore
    last_sample_time: datetime | None


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The health of a network and its devices.

    Attributes:
        network_id: the network.
        profile: what all scores are by.
        now: the network in the last two minutes of the range.
        window: the network in the whole range.
        scheme: how devices' scores became the network's: "worst_device".
        devices: first those without a score in the range, then the worst.
        percentile_relative_error: of latency percentiles over the range.
    """

    network_id: str
    profile: ScoreProfile
    now: NetworkHealth
    window: NetworkHealth
    scheme: str
    devices: tuple[DeviceHealth, ...]
    percentile_relative_error: float


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which a device was down.

    Attributes:
        start_time: when it began, within the range.
        end_time: when it ended, within the range.
        length: its length.
        counted: the part of it outside of maintenance.
        cause: "offline" or "total_loss"; empty where it is not known.
        began_before: whether it began before the range.
        goes_on: whether it went on at the range's end, or still does.
    """

    start_time: datetime
    end_time: datetime
    length: timedelta
    counted: timedelta
    cause: str
    began_before: bool
    goes_on: bool


@dataclass(frozen=True, slots=True)
class ObjectiveResult:
    """How often an objective was met, in the terms of RFC 9544.

    Attributes:
        objective: the objective; None for all of them together.
        interval_count: how many intervals count.
        met_interval_count: how many met it.
        violated_interval_count: how many did not, severely violated ones left out.
        severely_violated_interval_count: how many were severely violated.
        violated_percent: violated and severely violated ones, of those that count.
        severely_violated_percent: severely violated ones, of those that count.
    """

    objective: Objective | None
    interval_count: int
    met_interval_count: int
    violated_interval_count: int
    severely_violated_interval_count: int
    violated_percent: float
    severely_violated_percent: float


@dataclass(frozen=True, slots=True)
class NetworkSla:
    """Whether the devices of a network kept its SLA.

    Attributes:
        compliant: whether no device broke it, which is so where nothing is
            known of any.
        availability_percent: that of the worst device; None where none has one.
        worst_device_id: the worst device.
        pooled_availability_percent: that of all devices' time together.
        device_count: how many devices there are.
        compliant_device_count: how many kept it, those among them of which
            nothing is known.
        unknown_device_count: how many have no availability.
        outage_count: how many outages counted.
        objectives: over the intervals of all devices.
        all_objectives: all of them together; None where there are none.
    """

    compliant: bool
    availability_percent: float | None
    worst_device_id: str
    pooled_availability_percent: float | None
    device_count: int
    compliant_device_count: int
    unknown_device_count: int
    outage_count: int
    objectives: tuple[ObjectiveResult, ...]
    all_objectives: ObjectiveResult | None


@dataclass(frozen=True, slots=True)
class DeviceSla:
    """Whether a device kept the SLA.

    Attributes:
        device_id: the device.
        compliant: whether the outages stayed within the error budget.
        availability_percent: up time, of the time that counts; None where none does.
        margin_percent: by how much it is above the target.
        down: time in outages that count.
        dips: time in outages too short to count.
        unknown: time without telemetry, outside of maintenance.
        maintenance: time in maintenance windows.
        excluded: time that is left out.
        error_budget_minutes: the down time that the target allows for.
        error_budget_used_minutes: the down time.
        error_budget_left_minutes: what is left; negative where it is exceeded.
        outages: those that count, in time order; at most 1000.
        outage_count: how many count.
        dip_count: how many were too short.
        objectives: by objective.
        all_objectives: all of them together; None where there are none.
    """

    device_id: str
    compliant: bool
    availability_percent: float | None
    margin_percent: float
    down: timedelta
    dips: timedelta
    unknown: timedelta
    maintenance: timedelta
    excluded: timedelta
    error_budget_minutes: float
    error_budget_used_minutes: float
    error_budget_left_minutes: float
    outages: tuple[Outage, ...]
    outage_count: int
    dip_count: int
    objectives: tuple[ObjectiveResult, ...]
    all_objectives: ObjectiveResult | None


@dataclass(frozen=True, slots=True)
class SlaReport:
    """Whether a network kept its SLA.

    Attributes:
        network_id: the network.
        display_name: its name.
        sla: what was agreed.
        profile_id: the score profile of objectives.
        start_time: the range's start, inclusive.
        end_time: its end, exclusive; of a period that is not over in the future.
        evaluated_until_time: up to when telemetry was looked at.
        network: the network as a whole.
        scheme: how devices' figures became the network's: "worst_device".
        devices: the worst first.
    """

    network_id: str
    display_name: str
    sla: Sla
    profile_id: str
    start_time: datetime
    end_time: datetime
    evaluated_until_time: datetime
    network: NetworkSla
    scheme: str
    devices: tuple[DeviceSla, ...]


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """What the values of a step come to.

    Attributes:
        start_time: the step's start.
        count: how many values there are.
        p50: median.
        p95: 95th percentile.
        min: smallest value.
        max: largest value.
    """

    start_time: datetime
    count: int
    p50: float
    p95: float
    min: float
    max: float


@dataclass(frozen=True, slots=True)
class Trend:
    """A metric or a score of a network over time.

    Attributes:
        network_id: the network.
        metric: what is followed.
        start_time: the range's start, inclusive.
        end_time: its end, exclusive.
        step: the time between points.
        points: one for each step with values.
        current: the whole range; None where there are no values.
        previous: the equally long range before.
        p50_change: by how much the median is above that of the range before.
        p95_change: likewise, the 95th percentile.
        percentile_relative_error: the percentiles' largest.
        profile_id: the score profile.
    """

    network_id: str
    metric: str
    start_time: datetime
    end_time: datetime
    step: timedelta
    points: tuple[TrendPoint, ...]
    current: TrendPoint | None
    previous: TrendPoint | None
    p50_change: float | None
    p95_change: float | None
    percentile_relative_error: float
    profile_id: str


@dataclass(frozen=True, slots=True)
class Incident:
    """A time in which something was wrong with a device.

    Attributes:
        incident_id: names it.
        device_id: the device.
        cause: "latency", "packet_loss" or "silence".
        start_time: when it began.
        detect_time: when it was found.
        end_time: when it was over; None while it is open.
        measured: what was measured when it was found: milliseconds, percent, or
            seconds of silence.
        threshold: what that was held against.
    """

    incident_id: str
    device_id: str
    cause: str
    start_time: datetime
    detect_time: datetime
    end_time: datetime | None
    measured: float
    threshold: float
