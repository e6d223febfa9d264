from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
import sqlalchemy as sa

from spacelink.columns import TelemetryColumns
from spacelink.v1 import partner_pb2 as pb
from spacelink.v1.session_pb2 import GetSessionRequest
from spacelink_server.sandboxes.simulation import DEVICE_IDS, HOURS, INTERVAL_SECONDS, simulate
from spacelink_server.storage import latest, maintained, reading, sandboxes
from spacelink_server.storage.schema import metadata
from spacelink_server.storage.store import Submission
from tests.server.installation import bearer, refusal
from tests.server.samples import segment
from tests.server.services.access_calls import audited, create_tenant, mint, tenant_admin
from tests.server.stored import maintain

if TYPE_CHECKING:
    from tests.server.installation import Installation

PER_DEVICE = HOURS * 3600 // INTERVAL_SECONDS


async def create(installation: Installation, caller: str) -> pb.CreateSandboxResponse:
    return await installation.partner.CreateSandbox(pb.CreateSandboxRequest(), **bearer(caller))


async def reset(installation: Installation, caller: str) -> pb.ResetSandboxResponse:
    return await installation.partner.ResetSandbox(pb.ResetSandboxRequest(), **bearer(caller))


def samples(installation: Installation, tenant_id: str, device_id: str) -> int:
    parts = reading.read(installation.store, tenant_id, device_id, 0, 2**62)
    return sum(len(reading.columns_of(part)) for part in parts)


def with_key(secret: str) -> dict[str, Any]:
    return {"metadata": [("x-api-key", secret)]}


async def test_a_sandbox_has_devices_and_a_key(installation: Installation) -> None:
    acme = await tenant_admin(installation, "acme")
    made = await create(installation, acme)
    box = made.sandbox
    assert (box.tenant_id, tuple(box.device_ids)) == ("acme-sandbox", DEVICE_IDS)
    assert box.end_time.seconds - box.start_time.seconds == HOURS * 3600
    assert abs(box.end_time.seconds - time.time()) < 300
    assert installation.store.device_ids("acme-sandbox") == sorted(DEVICE_IDS)
    assert {samples(installation, "acme-sandbox", device) for device in DEVICE_IDS} == {PER_DEVICE}
    me = await installation.session.GetSession(GetSessionRequest(), **with_key(made.secret))
    assert me.tenant_id == "acme-sandbox"
    assert {"telemetry:read", "telemetry:write", "partners:write"} <= set(me.scopes)
    assert "tenants:write" not in me.scopes
    assert [limit.caveat for limit in me.limits] == ["samples_per_day = 1000000"]
    assert installation.store.device_ids("acme") == []


async def test_a_reset_makes_it_what_it_was(installation: Installation) -> None:
    acme = await tenant_admin(installation, "acme")
    made = await create(installation, acme)
    mine = Submission("acme-sandbox", "", [segment("mine")])
    theirs = Submission("acme", "", [segment("theirs")])
    for submission in (mine, theirs):
        await installation.committer.submit(submission, 1)
    assert samples(installation, "acme-sandbox", "mine")
    own = await installation.partner.GenerateApiKey(pb.GenerateApiKeyRequest(), **with_key(made.secret))
    again = await reset(installation, acme)
    assert again.sandbox.tenant_id == "acme-sandbox"
    assert samples(installation, "acme-sandbox", "mine") == 0
    assert samples(installation, "acme", "theirs") > 0
    assert {samples(installation, "acme-sandbox", device) for device in DEVICE_IDS} == {PER_DEVICE}
    await installation.session.GetSession(GetSessionRequest(), **with_key(again.secret))
    for secret in (made.secret, own.secret):
        call = installation.session.GetSession(GetSessionRequest(), **with_key(secret))
        assert (await refusal(call))["code"] is grpc.StatusCode.UNAUTHENTICATED
    # What is stored of a device anew is found, too.
    await installation.committer.submit(mine, 1)
    assert samples(installation, "acme-sandbox", "mine") > 0
    actions = [event.action for event in await audited(installation, "acme")]
    assert [action for action in actions if "sandbox" in action] == ["sandbox.reset", "sandbox.create"]


async def test_a_reset_takes_what_maintenance_has_made_with_it(installation: Installation) -> None:
    """Also what it was just making."""
    acme = await tenant_admin(installation, "acme")
    await create(installation, acme)
    maintain(installation.store, time.time_ns())
    derived = ("compacted_segments", "rollups", "maintained_devices")
    assert all(rows_of(installation, table) for table in derived)
    before = installation.store.read(lambda c: maintained.states(c, "acme-sandbox", DEVICE_IDS))
    installation.store.transact(lambda c: sandboxes.clear(c, "acme-sandbox"))
    assert [rows_of(installation, table) for table in derived] == [0, 0, len(DEVICE_IDS)]
    assert installation.store.read(lambda c: latest.newest_samples(c, "acme-sandbox", DEVICE_IDS)) == {}
    with pytest.raises(maintained.StaleError):
        installation.store.transact(lambda c: maintained.advance(c, "acme-sandbox", before))
    await reset(installation, acme)
    maintain(installation.store, time.time_ns())
    assert {samples(installation, "acme-sandbox", device) for device in DEVICE_IDS} == {PER_DEVICE}


def rows_of(installation: Installation, name: str) -> int:
    table = metadata.tables[name]
    query = sa.select(sa.func.count()).where(table.c.tenant_id == "acme-sandbox")
    return installation.store.read(lambda c: c.scalar(query)) or 0


async def test_there_is_one_and_it_has_none(installation: Installation) -> None:
    acme = await tenant_admin(installation, "acme")
    assert (await refusal(reset(installation, acme)))["reason"] == "SANDBOX_NOT_FOUND"
    made = await create(installation, acme)
    assert (await refusal(create(installation, acme)))["reason"] == "TENANT_ALREADY_EXISTS"
    call = installation.partner.CreateSandbox(pb.CreateSandboxRequest(), **with_key(made.secret))
    assert (await refusal(call))["reason"] == "SANDBOX_HAS_NO_SANDBOX"


async def test_a_name_may_be_too_long(installation: Installation) -> None:
    for length, reason in ((56, ""), (57, "TENANT_NAME_TOO_LONG")):
        name = "a" * length
        await create_tenant(installation, name)
        token = await mint(installation, installation.operator, tenant_id=name)
        if reason:
            assert (await refusal(create(installation, token)))["reason"] == reason
        else:
            assert len((await create(installation, token)).sandbox.tenant_id) == 64


def test_simulated_telemetry_is_plausible_and_the_same_each_time() -> None:
    end = 1_800_000_003 * 10**9 + 5
    found = {columns.device_id: columns for columns in simulate(end)}
    again = {columns.device_id: columns for columns in simulate(end)}
    assert tuple(found) == DEVICE_IDS
    for device_id, columns in found.items():
        times = columns.time_unix_nano
        assert set(np.diff(times).tolist()) == {INTERVAL_SECONDS * 10**9}
        assert end - 2 * INTERVAL_SECONDS * 10**9 < times[-1] < end
        assert columns.encode() == again[device_id].encode()
        assert TelemetryColumns.decode(columns.encode()).device_id == device_id
        loss = columns.metrics["packet_loss_percent"]
        assert (loss.min(), loss.max() <= 100) == (0, True)
        assert 20 < np.nanmedian(columns.metrics["latency_ms"]) < 60
        assert np.isnan(columns.metrics["latency_ms"]).sum() == (loss == 100).sum()
    trouble = slice(1300, 1600)
    assert np.median(found["sim/degraded"].metrics["latency_ms"][trouble]) > 100
    assert np.median(found["sim/calm-1"].metrics["latency_ms"][trouble]) < 60
    assert (found["sim/outage"].metrics["packet_loss_percent"] == 100).sum() * INTERVAL_SECONDS > 300
    assert not (found["sim/calm-2"].metrics["packet_loss_percent"] == 100).any()
