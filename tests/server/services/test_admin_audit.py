from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import sqlalchemy as sa

from spacelink import audit as chains
from spacelink.admin.v1.audit_pb2 import (
    AuditEvent,
    ExportAuditRequest,
    ListAuditEventsRequest,
    VerifyAuditRequest,
    VerifyAuditResponse,
)
from spacelink_server.services import admin_audit
from spacelink_server.storage import audit
from spacelink_server.storage.audit import Event
from spacelink_server.storage.schema import audit_events
from tests.server.installation import bearer, refusal
from tests.server.services.access_calls import audited, mint, tenant_admin

if TYPE_CHECKING:
    from spacelink_server.storage.transactions import Connection
    from tests.server.installation import Installation


async def record(installation: Installation, count: int, tenant_id: str = "default") -> None:
    def work(connection: Connection) -> None:
        for n in range(count):
            action = ("test.even", "test.odd")[n % 2]
            audit.append(connection, tenant_id, Event("system", action, f"thing:{n}", detail={"n": n}))

    await installation.database.write(work)


async def export(installation: Installation, caller: str, **fields: str) -> list[bytes]:
    call = installation.audit.ExportAudit(ExportAuditRequest(**fields), **bearer(caller))
    return [line.encode() async for answer in call for line in answer.lines]


async def verify(installation: Installation, **fields: str) -> VerifyAuditResponse:
    request = VerifyAuditRequest(**fields)
    return await installation.audit.VerifyAudit(request, **bearer(installation.operator))


async def tamper(installation: Installation, at: int, /, **values: Any) -> None:
    e = audit_events.c
    query = sa.update(audit_events).where(e.tenant_id == "default", e.sequence == at).values(**values)
    await installation.database.write(lambda connection: connection.execute(query))


async def test_an_event_is_listed_as_it_was_recorded(installation: Installation) -> None:
    await record(installation, 1)
    newest, oldest = await audited(installation, "default")
    assert (newest.sequence, newest.actor, newest.action) == (2, "system", "test.even")
    assert (newest.resource, newest.outcome, newest.detail_json) == ("thing:0", "ok", '{"n":0}')
    assert newest.previous_hash == oldest.event_hash
    assert (oldest.sequence, oldest.action, oldest.previous_hash) == (1, "tenant.create", "0" * 64)
    assert newest.event_time.ToNanoseconds() >= oldest.event_time.ToNanoseconds() > 1_700_000_000 * 10**9


async def test_lists_events_newest_first_in_pages(installation: Installation) -> None:
    await record(installation, 6)
    for action, expected in (("", [7, 6, 5, 4, 3, 2, 1]), ("test.odd", [7, 5, 3]), ("nothing", [])):
        found: list[AuditEvent] = []
        page_token = ""
        while True:
            request = ListAuditEventsRequest(page_size=2, page_token=page_token, action=action)
            answer = await installation.audit.ListAuditEvents(request, **bearer(installation.operator))
            found += answer.events
            page_token = answer.next_page_token
            if not page_token:
                break
        assert [event.sequence for event in found] == expected


async def test_an_export_is_verified_offline(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_audit, "_EVENTS_AT_ONCE", 4)
    await record(installation, 11)
    lines = await export(installation, installation.operator)
    assert len(lines) == 12
    found = chains.verify(lines)
    assert (found.intact, found.event_count) == (True, 12)
    newest = (await audited(installation, "default"))[0]
    assert found.head == newest.event_hash
    event = json.loads(lines[-1])
    assert event["detail"] == {"n": 10}
    assert event["tenant_id"] == "default"


async def test_an_export_ends_though_the_last_part_is_full(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_audit, "_EVENTS_AT_ONCE", 4)
    await record(installation, 7)
    assert len(await export(installation, installation.operator)) == 8
    assert (await verify(installation)).event_count == 8


async def test_each_tenant_has_a_chain_of_its_own(installation: Installation) -> None:
    acme = await tenant_admin(installation, "acme")
    await tenant_admin(installation, "globex")
    lines = await export(installation, acme)
    assert [json.loads(line)["action"] for line in lines] == ["tenant.create", "token.mint"]
    assert {json.loads(line)["tenant_id"] for line in lines} == {"acme"}
    assert chains.verify(lines).intact
    for call in (
        export(installation, acme, tenant_id="globex"),
        installation.audit.VerifyAudit(VerifyAuditRequest(tenant_id="globex"), **bearer(acme)),
        installation.audit.ListAuditEvents(ListAuditEventsRequest(tenant_id="default"), **bearer(acme)),
    ):
        assert (await refusal(call))["reason"] == "WRONG_TENANT"


async def test_the_installation_has_a_chain_too(installation: Installation) -> None:
    lines = await export(installation, installation.operator, tenant_id="*")
    assert [json.loads(line)["action"] for line in lines] == ["token.mint"]
    assert chains.verify(lines).intact


async def test_verifies_a_chain_in_the_store(installation: Installation) -> None:
    await record(installation, 3)
    lines = await export(installation, installation.operator)
    head = json.loads(lines[-1])["event_hash"]
    expected = VerifyAuditResponse(intact=True, event_count=4, head=head)
    assert await verify(installation) == expected
    assert await verify(installation, expected_head=head.upper()) == expected


async def test_misses_events_that_the_expected_head_tells_of(installation: Installation) -> None:
    await record(installation, 2)
    found = await verify(installation, expected_head="ab" * 32)
    assert (found.intact, found.event_count, found.broken_sequence) == (False, 3, 4)
    assert "ab" * 32 in found.problem


async def test_refuses_a_head_that_is_no_hash(installation: Installation) -> None:
    found = await refusal(verify(installation, expected_head="ab"))
    assert found["BadRequest"].field_violations[0].field == "expected_head"


@pytest.mark.parametrize(
    "values",
    [
        {"event": "{}"},
        {"event": "not JSON"},
        {"event": "[" * 100_000},
        {"action": "test.nothing"},
        {"event_hash": b"\0" * 32},
        {"sequence": 40},
    ],
)
async def test_finds_where_the_store_was_tampered_with(
    installation: Installation, values: dict[str, Any]
) -> None:
    await record(installation, 6)
    await tamper(installation, 4, **values)
    found = await verify(installation)
    assert (found.intact, found.event_count, found.broken_sequence) == (False, 3, 4)
    assert found.problem
    assert chains.verify(await export(installation, installation.operator)).broken_sequence == 4
    assert len(await audited(installation, "default")) == 7


async def test_finds_a_changed_fact(installation: Installation) -> None:
    await record(installation, 3)
    newest = (await audited(installation, "default"))[0]
    rows = await installation.database.read(lambda c: audit.chain(c, "default", after=1, limit=1))
    await tamper(installation, 2, event=rows[0].event.replace("thing:0", "thing:1"))
    found = await verify(installation, expected_head=newest.event_hash)
    assert found.broken_sequence == 2
    shown = (await audited(installation, "default"))[-2]
    assert (shown.sequence, shown.resource, shown.detail_json) == (2, "", "")


async def test_an_event_is_not_recorded_without_its_change(installation: Installation) -> None:
    def work(connection: Connection) -> None:
        audit.append(connection, "default", Event("system", "test", "thing"))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await installation.database.write(work)
    assert [event.action for event in await audited(installation, "default")] == ["tenant.create"]


async def test_calls_at_the_same_time_do_not_fork_the_chain(installation: Installation) -> None:
    await asyncio.gather(*(mint(installation, installation.operator, f"label = {n}") for n in range(40)))
    assert (await verify(installation)).event_count == 41


async def test_an_export_of_a_tenant_that_does_not_exist(installation: Installation) -> None:
    found = await refusal(export(installation, installation.operator, tenant_id="acme"))
    assert (found["code"], found["reason"]) == (grpc.StatusCode.NOT_FOUND, "TENANT_NOT_FOUND")
