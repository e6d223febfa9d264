from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration

from spacelink.v1 import network_pb2 as pb
from spacelink_server.networks import catalog
from spacelink_server.services import network as service
from spacelink_server.storage import incidents
from spacelink_server.storage.incidents import Incident
from tests.server.installation import bearer, refusal
from tests.server.samples import SECOND, T0
from tests.server.services.access_calls import audited, mint, narrowed, tenant_admin
from tests.server.stored import maintain
from tests.server.stored_telemetry import at, put, put_steady, within

if TYPE_CHECKING:
    from tests.server.installation import Installation

HOUR = 3600
DAY = 24 * HOUR


class Networks:
    """NetworkService as one caller sees it."""

    def __init__(self, installation: Installation, token: str = "") -> None:
        self.installation = installation
        self.token = token or installation.operator

    def call(self, name: str, **fields: Any) -> Any:
        request = getattr(pb, f"{name}Request")(**fields)
        return getattr(self.installation.network, name)(request, **bearer(self.token))

    async def create(self, network_id: str, *device_ids: str, **fields: Any) -> pb.Network:
        request_id = fields.pop("request_id", "")
        network = pb.Network(network_id=network_id, **fields)
        made = await self.call("CreateNetwork", network=network, device_ids=device_ids, request_id=request_id)
        found: pb.Network = made.network
        return found

    async def refused(self, name: str, **fields: Any) -> tuple[grpc.StatusCode, str]:
        found = await refusal(self.call(name, **fields))
        return found["code"], found["reason"]


@pytest.fixture
def networks(installation: Installation) -> Networks:
    return Networks(installation)


INVALID = grpc.StatusCode.INVALID_ARGUMENT
DENIED = grpc.StatusCode.PERMISSION_DENIED


async def test_a_network_is_what_was_created(networks: Networks) -> None:
    made = await networks.create("north", "b", "a", "b", display_name="Nörd", profile_id="voice")
    assert (made.network_id, made.display_name, made.profile_id) == ("north", "Nörd", "voice")
    assert made.device_count == 2
    assert made.sla.availability_target_percent == 99.9
    assert made.sla.min_outage == Duration(seconds=60)
    assert (await networks.call("GetNetwork", network_id="north")).network == made
    listed = await networks.call("ListNetworkDevices", network_id="north", page_size=1)
    assert list(listed.device_ids) == ["a"]
    rest = await networks.call(
        "ListNetworkDevices", network_id="north", page_size=1, page_token=listed.next_page_token
    )
    assert (list(rest.device_ids), rest.next_page_token) == (["b"], "")
    (event,) = await audited(networks.installation, "default", "network.create")
    assert event.resource == "network:north"


async def test_the_server_names_a_network_that_has_no_name(networks: Networks) -> None:
    made = [await networks.create("", request_id=request) for request in ("1", "1", "2")]
    assert made[0] == made[1]
    assert made[0].network_id != made[2].network_id
    assert made[0].network_id.startswith("net_")


async def test_a_name_is_taken_once(networks: Networks) -> None:
    await networks.create("north")
    code, reason = await networks.refused("CreateNetwork", network=pb.Network(network_id="north"))
    assert (code, reason) == (grpc.StatusCode.ALREADY_EXISTS, "NETWORK_EXISTS")


@pytest.mark.parametrize(
    ("name", "fields", "field"),
    [
        ("CreateNetwork", {"network": pb.Network(network_id="a b")}, "network.network_id"),
        ("CreateNetwork", {"network": pb.Network(profile_id="none")}, "network.profile_id"),
        (
            "CreateNetwork",
            {"network": pb.Network(sla=pb.Sla(availability_target_percent=101))},
            "network.sla.availability_target_percent",
        ),
        ("CreateNetwork", {"device_ids": ["ok", "not ok"]}, "device_ids[1]"),
        ("CreateNetwork", {"request_id": "a b"}, "request_id"),
        ("UpdateNetwork", {"network_id": "n", "profile_id": "none"}, "profile_id"),
        ("UpdateNetwork", {"network_id": "n", "sla": pb.Sla(period=99)}, "sla.period"),
        (
            "UpdateNetworkDevices",
            {"network_id": "n", "add_device_ids": ["a"], "remove_device_ids": ["a"]},
            "remove_device_ids",
        ),
        ("ListNetworks", {"page_size": -1}, "page_size"),
        ("ListNetworks", {"network_ids": ["a b"]}, "network_ids[0]"),
        ("CreateScoreProfile", {"profile": pb.ScoreProfile(profile_id="own")}, "profile"),
        ("GetNetworkHealth", {"network_id": "n", "profile_id": "none"}, "profile_id"),
        ("GetNetworkHealth", {"network_id": "n", "device_ids": ["stranger"]}, "device_ids"),
        ("GetNetworkHealth", {"network_id": "n", **within(10, 10)}, "end_time"),
        ("GetNetworkHealth", {"network_id": "n", **within(10, 0)}, "end_time"),
        ("GetNetworkHealth", {"network_id": "n", **within(0, 401 * DAY)}, "end_time"),
        ("GetNetworkHealth", {"network_id": "n", "page_token": "x"}, "page_token"),
        ("GetNetworkSla", {"network_id": "n", "start_time": at(0)}, "start_time"),
        ("GetNetworkSla", {"network_id": "n", **within(0, 9), "period_time": at(0)}, "period_time"),
        ("GetNetworkSla", {"network_id": "n", "period_time": at(99 * 366 * DAY)}, "period_time"),
        ("GetNetworkTrend", {"network_id": "n"}, "metric"),
        ("GetNetworkTrend", {"network_id": "n", "metric": "qoo", "step": Duration(seconds=7)}, "step"),
        (
            "GetNetworkTrend",
            {"network_id": "n", "metric": "qoo", "step": Duration(seconds=60), **within(0, 2 * DAY)},
            "step",
        ),
        ("ListIncidents", {"device_ids": ["a b"]}, "device_ids[0]"),
        ("ListIncidents", within(10, 0), "end_time"),
    ],
)
async def test_bad_input_is_refused_by_field(
    networks: Networks, name: str, fields: dict[str, Any], field: str
) -> None:
    await networks.create("n", "d")
    found = await refusal(networks.call(name, **fields))
    assert found["code"] == INVALID
    assert [each.field for each in found["BadRequest"].field_violations] == [field]


@pytest.mark.parametrize(
    "name",
    [
        "GetNetwork",
        "UpdateNetwork",
        "UpdateNetworkDevices",
        "ListNetworkDevices",
        "GetNetworkHealth",
        "GetNetworkSla",
        "GetNetworkTrend",
        "ListIncidents",
    ],
)
async def test_a_network_of_another_tenant_does_not_exist(networks: Networks, name: str) -> None:
    token = await tenant_admin(networks.installation, "acme")
    await Networks(networks.installation, token).create("theirs")
    fields = {"metric": "qoo"} if name == "GetNetworkTrend" else {}
    code, reason = await networks.refused(name, network_id="theirs", **fields)
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "NETWORK_NOT_FOUND")


async def test_an_update_changes_what_it_sets(networks: Networks) -> None:
    made = await networks.create("n", display_name="old", profile_id="voice")
    sla = pb.Sla(availability_target_percent=99, unknown_time=pb.UNKNOWN_TIME_DOWN)
    changed = (await networks.call("UpdateNetwork", network_id="n", sla=sla)).network
    assert (changed.display_name, changed.profile_id) == ("old", "voice")
    assert changed.sla.availability_target_percent == 99
    changed = (await networks.call("UpdateNetwork", network_id="n", display_name="")).network
    assert (changed.display_name, changed.sla.availability_target_percent) == ("", 99)
    assert changed.create_time == made.create_time
    events = await audited(networks.installation, "default", "network.update")
    assert [sorted(json.loads(event.detail_json)) for event in events] == [["display_name"], ["sla"]]


async def test_devices_are_added_and_removed_once(networks: Networks) -> None:
    await networks.create("n", "a", "b")
    change = {"add_device_ids": ["b", "c"], "remove_device_ids": ["a", "x"], "request_id": "r"}
    for _ in range(2):
        answer = await networks.call("UpdateNetworkDevices", network_id="n", **change)
        assert answer.network.device_count == 2
    listed = await networks.call("ListNetworkDevices", network_id="n")
    assert list(listed.device_ids) == ["b", "c"]
    assert len(await audited(networks.installation, "default", "network.update_devices")) == 1


async def test_a_network_has_a_limit_of_devices(networks: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "MAX_DEVICES", 2)
    await networks.create("n", "a", "b")
    found = await refusal(networks.call("UpdateNetworkDevices", network_id="n", add_device_ids=["c"]))
    assert found["BadRequest"].field_violations[0].field == "add_device_ids"
    await networks.call("UpdateNetworkDevices", network_id="n", add_device_ids=["c"], remove_device_ids=["a"])


async def test_pages_of_networks(networks: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("c", "a", "b"):
        await networks.create(name)

    async def ids(**fields: Any) -> list[str]:
        found, token = [], ""
        while True:
            page = await networks.call("ListNetworks", page_token=token, **fields)
            found += [network.network_id for network in page.networks]
            token = page.next_page_token
            if not token:
                return found

    assert await ids() == ["a", "b", "c"]
    assert await ids(page_size=2) == ["a", "b", "c"]
    assert await ids(network_ids=["c", "x", "b"]) == ["b", "c"]
    # However few fit into a message, all come.
    monkeypatch.setattr(service, "_PAGE_BYTES", 1)
    assert await ids() == ["a", "b", "c"]


async def test_own_profiles_score(networks: Networks) -> None:
    profile = pb.ScoreProfile(profile_id="strict", packet_loss=pb.LossRequirement(useless_percent=1))
    made = await networks.call("CreateScoreProfile", profile=profile, request_id="r")
    again = await networks.call("CreateScoreProfile", profile=profile, request_id="r")
    assert made == again
    for taken in ("strict", "leo"):
        profile.profile_id = taken
        code, reason = await networks.refused("CreateScoreProfile", profile=profile)
        assert (code, reason) == (grpc.StatusCode.ALREADY_EXISTS, "SCORE_PROFILE_EXISTS")
    profile.profile_id = "strict"
    listed = (await networks.call("ListScoreProfiles")).profiles
    assert [(each.profile_id, each.built_in) for each in listed] == [
        ("leo", True),
        ("voice", True),
        ("video", True),
        ("bulk", True),
        ("strict", False),
    ]
    put_steady(networks.installation.store, "d", 0, 60, packet_loss_percent=0.25)
    await networks.create("n", "d", profile_id="strict")
    report = await networks.call("GetNetworkHealth", network_id="n", **within(0, 60))
    assert report.profile == profile
    assert report.window.score == pytest.approx(75)
    by_leo = await networks.call("GetNetworkHealth", network_id="n", profile_id="leo", **within(0, 60))
    assert by_leo.window.score == pytest.approx(100 * (1 - 0.15 / 1.9))


async def test_health_lists_the_worst_first_and_hides_no_dead_site(networks: Networks) -> None:
    store = networks.installation.store
    put_steady(store, "good", 0, 3600)
    put_steady(store, "slow", 0, 3600, latency_ms=150.0)
    put_steady(store, "lossy", 0, 3600, packet_loss_percent=50.0)
    put_steady(store, "mute", 0, 3600, latency_ms=np.nan, packet_loss_percent=np.nan)
    await networks.create("n", "good", "slow", "lossy", "mute", "silent")
    report = await networks.call("GetNetworkHealth", network_id="n", **within(0, 3600))
    assert [device.device_id for device in report.devices] == ["mute", "silent", "lossy", "slow", "good"]
    mute, silent, lossy, slow, good = report.devices
    for device in (mute, silent):
        assert not device.window.HasField("score")
        assert not device.window.items
        assert not device.window.HasField("voice")
        assert len(device.window.missing_inputs) == 3
    assert (mute.window.sample_count, silent.window.sample_count) == (3600, 0)
    assert not silent.HasField("last_sample_time")
    assert good.last_sample_time == at(3599)
    assert (lossy.window.score, slow.window.score, good.window.score) == (0, 50, 100)
    assert {item.input: (item.measured, item.score) for item in slow.window.items} == {
        "latency_p95_ms": (150, 50),
        "latency_p99_ms": (150, 100),
        "packet_loss_percent": (0, 100),
    }
    window = report.window
    assert report.scheme == pb.NETWORK_SCHEME_WORST_DEVICE
    assert (window.score, window.median_score) == (0, 50)
    assert (window.worst_device.device_id, window.worst_device.score) == ("lossy", lossy.window)
    assert (window.device_count, window.scored_device_count, window.silent_device_count) == (5, 3, 1)
    assert (report.now.start_time, report.now.end_time) == (at(3480), at(3600))
    assert good.now.sample_count == 120


async def test_health_is_of_the_devices_asked_for(networks: Networks) -> None:
    put_steady(networks.installation.store, "good", 0, 60)
    put_steady(networks.installation.store, "bad", 0, 60, packet_loss_percent=100.0)
    await networks.create("n", "good", "bad")
    report = await networks.call("GetNetworkHealth", network_id="n", device_ids=["good"], **within(0, 60))
    assert [device.device_id for device in report.devices] == ["good"]
    assert (report.window.score, report.window.device_count) == (100, 1)


async def test_late_data_changes_what_was_answered(networks: Networks) -> None:
    await networks.create("n", "d")
    put_steady(networks.installation.store, "d", 0, 60)
    put_steady(networks.installation.store, "d", 120, 180)

    async def scores() -> list[float]:
        answers = [
            await networks.call("GetNetworkHealth", network_id="n", **within(start, start + 60))
            for start in (0, 60, 120)
        ]
        return [answer.window.score if answer.window.HasField("score") else -1 for answer in answers]

    assert await scores() == [100, -1, 100]
    put_steady(networks.installation.store, "d", 60, 120, packet_loss_percent=100.0)
    assert await scores() == [100, 0, 100]
    # The same once more is the same.
    put_steady(networks.installation.store, "d", 60, 120, packet_loss_percent=100.0)
    answer = await networks.call("GetNetworkHealth", network_id="n", **within(60, 120))
    assert answer.window.worst_device.score.sample_count == 60


async def test_pages_of_health_are_as_of_one_moment(networks: Networks) -> None:
    for number in range(5):
        put_steady(networks.installation.store, f"d{number}", 0, 60, latency_ms=100.0 + 10 * number)
    await networks.create("n", *(f"d{number}" for number in range(5)))
    found, token = [], ""
    while True:
        page = await networks.call(
            "GetNetworkHealth", network_id="n", page_size=2, page_token=token, **within(0, 60)
        )
        found += [device.device_id for device in page.devices]
        assert page.window.device_count == 5
        token = page.next_page_token
        if not token:
            break
    assert found == ["d4", "d3", "d2", "d1", "d0"]


MONTH = 31 * DAY
# Start and length in seconds, hand-made: what counts of each is beside it.
OUTAGES = [
    (-60, 120),  # 60: the part in the period
    (10 * HOUR, 59),  # none: a dip
    (11 * HOUR, 60),  # 60
    (3 * DAY - 30, 120),  # 120, across midnight
    (5 * DAY - 300, 600),  # 300: the other half is maintenance
    (20 * DAY, 2108.4),  # 2108.4
    (MONTH - 30, 60),  # 30: the part in the period
]
COUNTED = 2678.4  # 44.64 minutes, in sum
# An hour, of windows that overlap one another.
MAINTENANCE = [(5 * DAY, 5 * DAY + 2400), (5 * DAY + 1800, 5 * DAY + HOUR)]
SILENCE = (12 * DAY, 12 * DAY + 3 * HOUR)
INTERVAL = 20


def put_month(networks: Networks) -> None:
    """Store a month of a device that reports every 20 s, and at once when it goes down or up."""
    times = {float(time) for time in range(-HOUR, MONTH + HOUR, INTERVAL)}
    times -= {time for time in times if SILENCE[0] < time < SILENCE[1]}
    for start, length in OUTAGES:
        times |= {float(start), start + length}
    ordered = sorted(times)
    down = [any(start <= time < start + length for start, length in OUTAGES) for time in ordered]
    loss = np.where(down, 100.0, 0.0)
    for first in range(0, len(ordered), 10_000):
        part = slice(first, first + 10_000)
        put(networks.installation.store, "d", ordered[part], packet_loss_percent=loss[part])


def sla(unknown: pb.UnknownTime.ValueType) -> pb.Sla:
    windows = [pb.MaintenanceWindow(start_time=at(start), end_time=at(end)) for start, end in MAINTENANCE]
    return pb.Sla(unknown_time=unknown, maintenance_windows=windows)


async def test_the_sla_of_a_month_to_the_second(networks: Networks) -> None:
    put_month(networks)
    await networks.create("n", "d", "silent", sla=sla(pb.UNKNOWN_TIME_UP))
    report = await networks.call("GetNetworkSla", network_id="n", period_time=at(15 * DAY))
    assert (report.start_time, report.end_time) == (at(0), at(MONTH))
    device = next(each for each in report.devices if each.device_id == "d")
    assert device.down.ToTimedelta().total_seconds() == pytest.approx(COUNTED, abs=1e-6)
    assert (device.outage_count, device.dip_count) == (6, 1)
    assert device.dips == Duration(seconds=59)
    assert device.maintenance == Duration(seconds=HOUR)
    assert device.excluded == Duration(seconds=HOUR)
    # The last sample before it holds as long as the one before did.
    unknown = 3 * HOUR - INTERVAL
    assert device.unknown == Duration(seconds=unknown)
    assert device.availability_percent == pytest.approx(100 * (1 - COUNTED / (MONTH - HOUR)))
    assert device.error_budget_minutes == pytest.approx((MONTH - HOUR) / 1000 / 60)
    assert device.error_budget_used_minutes == pytest.approx(44.64)
    assert not device.compliant  # by the hour of maintenance that the budget has less
    lengths = [outage.length.ToTimedelta().total_seconds() for outage in device.outages]
    assert lengths == pytest.approx([60, 60, 120, 600, 2108.4, 30])
    counted = [outage.counted.ToTimedelta().total_seconds() for outage in device.outages]
    assert counted == pytest.approx([60, 60, 120, 300, 2108.4, 30])
    assert [outage.began_before for outage in device.outages] == [True] + [False] * 5
    assert [outage.goes_on for outage in device.outages] == [False] * 5 + [True]
    assert {outage.cause for outage in device.outages} == {pb.OUTAGE_CAUSE_TOTAL_LOSS}
    # In a thread: it takes seconds, in which the server has other things to do.
    await asyncio.to_thread(maintain, networks.installation.store, T0 + (MONTH + DAY) * SECOND)
    assert await networks.call("GetNetworkSla", network_id="n", period_time=at(15 * DAY)) == report

    await networks.call("UpdateNetwork", network_id="n", sla=sla(pb.UNKNOWN_TIME_EXCLUDED))
    report = await networks.call("GetNetworkSla", network_id="n", period_time=at(15 * DAY))
    first, last = report.devices
    assert (first.device_id, last.device_id) == ("d", "silent")
    assert first.availability_percent == pytest.approx(100 * (1 - COUNTED / (MONTH - HOUR - unknown)))
    assert not last.HasField("availability_percent")
    assert (report.network.unknown_device_count, report.network.worst_device_id) == (1, "d")
    assert not report.network.compliant

    await networks.call("UpdateNetwork", network_id="n", sla=sla(pb.UNKNOWN_TIME_DOWN))
    report = await networks.call("GetNetworkSla", network_id="n", **within(0, MONTH))
    first, last = report.devices
    assert (first.device_id, first.availability_percent) == ("silent", 0)
    assert last.down.ToTimedelta().total_seconds() == pytest.approx(COUNTED + unknown, abs=1e-6)


async def test_44_64_minutes_are_just_within_a_month_of_three_nines(networks: Networks) -> None:
    put_steady(networks.installation.store, "d", 0, 2 * HOUR)
    await networks.create("n", "d")
    report = await networks.call("GetNetworkSla", network_id="n", **within(0, HOUR))
    (device,) = report.devices
    assert (device.compliant, device.availability_percent) == (True, 100)
    assert device.error_budget_minutes == pytest.approx(0.06)
    assert device.margin_percent == pytest.approx(0.1)


async def test_objectives_count_intervals(networks: Networks) -> None:
    store = networks.installation.store
    for interval, latency in enumerate((20.0, 60.0, 200.0, 20.0)):
        put_steady(store, "d", 300 * interval, 300 * (interval + 1), latency_ms=latency)
    put_steady(store, "d", 1200, 1500, packet_loss_percent=100.0)
    objectives = [
        pb.Objective(metric=pb.OBJECTIVE_METRIC_LATENCY_MS, percentile=90, target=50, severe=100),
        pb.Objective(metric=pb.OBJECTIVE_METRIC_PACKET_LOSS_PERCENT, target=1, severe=2),
        pb.Objective(metric=pb.OBJECTIVE_METRIC_QOO, target=90, severe=10),
    ]
    await networks.create("n", "d", "silent", sla=pb.Sla(objectives=objectives))
    # The fifth interval is an outage, and the sixth has no telemetry.
    report = await networks.call("GetNetworkSla", network_id="n", **within(0, 1800))
    device = next(each for each in report.devices if each.device_id == "d")

    def counts(result: pb.ObjectiveResult) -> tuple[int, int, int, int]:
        return (
            result.interval_count,
            result.met_interval_count,
            result.violated_interval_count,
            result.severely_violated_interval_count,
        )

    assert [counts(result) for result in device.objectives] == [(4, 2, 1, 1), (4, 4, 0, 0), (4, 3, 0, 1)]
    assert counts(device.all_objectives) == (4, 2, 1, 1)
    assert counts(report.network.all_objectives) == (4, 2, 1, 1)
    assert device.objectives[0].violated_percent == 50
    assert device.objectives[0].severely_violated_percent == 25


async def test_an_outage_that_lasts_goes_on(networks: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    put_steady(networks.installation.store, "d", 0, 600)
    put_steady(networks.installation.store, "d", 600, 900, status="OFFLINE")
    await networks.create("n", "d", sla=pb.Sla(period=pb.SLA_PERIOD_DAY))
    monkeypatch.setattr(service.time, "time_ns", lambda: T0 + 900 * SECOND)
    report = await networks.call("GetNetworkSla", network_id="n")
    assert (report.end_time, report.evaluated_until_time) == (at(DAY), at(900))
    (device,) = report.devices
    (outage,) = device.outages
    assert (outage.start_time, outage.end_time, outage.goes_on) == (at(600), at(900), True)
    assert outage.cause == pb.OUTAGE_CAUSE_OFFLINE
    assert device.availability_percent == pytest.approx(100 * 600 / 900)
    # Of the whole day: what is still to come counts, too.
    assert device.error_budget_minutes == pytest.approx(1.44)


async def test_trends_have_points_where_there_are_values(networks: Networks) -> None:
    store = networks.installation.store
    put_steady(store, "a", 0, 120, latency_ms=10.0)
    put_steady(store, "b", 0, 120, latency_ms=30.0)
    put_steady(store, "a", 240, 300, latency_ms=50.0)
    put_steady(store, "a", -300, 0, latency_ms=5.0)
    await networks.create("n", "a", "b")
    step = Duration(seconds=120)
    trend = await networks.call(
        "GetNetworkTrend", network_id="n", metric="latency_ms", step=step, **within(0, 300)
    )
    found = [(point.start_time, point.count, point.p50, point.min, point.max) for point in trend.points]
    assert found == [(at(0), 240, 20, 10, 30), (at(240), 60, 50, 50, 50)]
    assert (trend.current.count, trend.previous.count) == (300, 300)
    assert (trend.previous.p50, trend.p50_change) == (5, trend.current.p50 - 5)
    scores = await networks.call("GetNetworkTrend", network_id="n", metric="qoo", step=step, **within(0, 300))
    assert [(point.count, point.p50) for point in scores.points] == [(2, 100), (1, 100)]
    nothing = await networks.call("GetNetworkTrend", network_id="n", metric="power_w", **within(0, 300))
    assert not nothing.points
    assert not nothing.HasField("current")
    assert not nothing.HasField("p50_change")


async def test_incidents_are_listed_by_network(networks: Networks) -> None:
    await networks.create("n", "a")
    for number, device_id in enumerate("aab"):
        row = Incident(f"{number:032x}", device_id, 1 + number % 2, T0 + number, T0 + number, None, 60, 40)
        networks.installation.store.transact(
            lambda c, row=row: incidents.open_incident(c, "default", row)  # type: ignore[misc]
        )
    every = await networks.call("ListIncidents", page_size=2)
    assert [incident.device_id for incident in every.incidents] == ["b", "a"]
    rest = await networks.call("ListIncidents", page_size=2, page_token=every.next_page_token)
    assert [incident.device_id for incident in rest.incidents] == ["a"]
    assert rest.incidents[0].cause == pb.INCIDENT_CAUSE_LATENCY
    assert not rest.incidents[0].HasField("end_time")
    of_network = await networks.call("ListIncidents", network_id="n")
    assert [incident.device_id for incident in of_network.incidents] == ["a", "a"]


async def test_a_token_is_held_to_its_devices(networks: Networks) -> None:
    await networks.create("n", "a", "b")
    narrow = Networks(networks.installation, narrowed(networks.token, device="a"))
    named: dict[str, Any] = {"network_id": "n", "device_ids": ["a"]}
    for name, fields in (
        ("GetNetworkHealth", within(0, 60)),
        ("GetNetworkSla", within(0, 60)),
        ("GetNetworkTrend", {"metric": "qoo", **within(0, 60)}),
        ("ListIncidents", {}),
    ):
        await narrow.call(name, **named, **fields)
        for devices in ([], ["a", "b"]):
            code, reason = await narrow.refused(name, network_id="n", device_ids=devices, **fields)
            assert (code, reason) == (DENIED, "DEVICE_DENIED")
    for name, fields in (
        ("UpdateNetwork", {"network_id": "n", "display_name": "x"}),
        ("UpdateNetworkDevices", {"network_id": "n", "add_device_ids": ["c"]}),
        ("UpdateNetworkDevices", {"network_id": "n", "remove_device_ids": ["b"]}),
        ("ListNetworkDevices", {"network_id": "n"}),
        ("CreateNetwork", {"network": pb.Network(network_id="m"), "device_ids": ["b"]}),
    ):
        assert await narrow.refused(name, **fields) == (DENIED, "DEVICE_DENIED")


async def test_a_token_is_held_to_its_networks(networks: Networks) -> None:
    await networks.create("n", "a")
    await networks.create("m", "a")
    narrow = Networks(networks.installation, narrowed(networks.token, network="n"))
    await narrow.call("GetNetwork", network_id="n")
    await narrow.call("GetNetworkHealth", network_id="n", **within(0, 60))
    listed = await narrow.call("ListNetworks", network_ids=["n"])
    assert [network.network_id for network in listed.networks] == ["n"]
    for name, fields in (
        ("GetNetwork", {"network_id": "m"}),
        ("GetNetworkSla", {"network_id": "m"}),
        ("ListIncidents", {}),
        ("ListNetworks", {}),
        ("CreateNetwork", {}),
        ("CreateScoreProfile", {}),
    ):
        assert await narrow.refused(name, **fields) == (DENIED, "NETWORK_DENIED")


async def test_reading_takes_the_scope_to_read(networks: Networks) -> None:
    await networks.create("n")
    reader = Networks(
        networks.installation, await mint(networks.installation, networks.token, "scope = networks:read")
    )
    await reader.call("GetNetwork", network_id="n")
    assert await reader.refused("UpdateNetwork", network_id="n") == (DENIED, "SCOPE_DENIED")
