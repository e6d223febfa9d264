from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from spacelink.v1.partner_pb2 import WEBHOOK_PAYLOAD_SPACELINK
from spacelink_server.storage import outbox, webhooks
from spacelink_server.storage.outbox import Delivery, Failure
from spacelink_server.storage.webhooks import SecretVersion, Webhook
from tests.server.waiting import WAIT_SECONDS

if TYPE_CHECKING:
    import sqlalchemy as sa

    from spacelink_server.storage.sql_store import SqlStore

SECOND = 1_000_000_000
LATER = 2**62
HOOK = Webhook(
    "acme",
    "h1",
    "ours",
    "https://h",
    (),
    WEBHOOK_PAYLOAD_SPACELINK,
    (SecretVersion(1, None),),
    5,
    "",
    None,
    0,
)


def add(store: SqlStore, *hooks: Webhook) -> None:
    for hook in hooks:
        store.transact(lambda c, hook=hook: webhooks.insert(c, hook))  # type: ignore[misc]


def append(
    store: SqlStore, event_type: str = "incident.opened", tenant_id: str = "acme", **data: Any
) -> None:
    store.transact(lambda c: outbox.append(c, tenant_id, event_type, data))


def claim(store: SqlStore, webhook_id: str = "h1", now: int = 0, limit: int = 10) -> list[Delivery]:
    now = now or time.time_ns()
    return store.transact(
        lambda c: outbox.claim(c, "acme", webhook_id, now, now + 60 * SECOND, limit), alone=False
    )


def stored(store: SqlStore, webhook_id: str = "h1", dead_only: bool = False) -> list[Delivery]:
    return store.read(lambda c: outbox.page(c, "acme", webhook_id, None, 100, dead_only=dead_only))


def fail(store: SqlStore, delivery: Delivery, at: int | None, status: int = 500) -> None:
    failure = Failure(time.time_ns(), status, "no")
    store.transact(lambda c: outbox.retry(c, delivery, failure, at))


def settle(store: SqlStore, delivery: Delivery) -> None:
    store.transact(lambda c: outbox.settle(c, delivery))


def names(deliveries: list[Delivery]) -> list[Any]:
    return [json.loads(delivery.data).get("n") for delivery in deliveries]


def test_keeps_webhooks(store: SqlStore) -> None:
    older = HOOK._replace(webhook_id="h0", create_time=4, event_types=("a", "b"), failing_since=7)
    add(store, HOOK, older, HOOK._replace(tenant_id="globex"))
    assert store.read(lambda c: webhooks.get(c, "acme", "h0")) == older
    assert store.read(lambda c: webhooks.get(c, "acme", "h9")) is None
    assert store.read(lambda c: webhooks.page(c, "acme", None, 1)) == [HOOK]
    assert store.read(lambda c: webhooks.page(c, "acme", (5, "h1"), 9)) == [older]
    changed = older._replace(secrets=(SecretVersion(2, None), SecretVersion(1, 99)), disable_reason="x")
    store.transact(lambda c: webhooks.update(c, changed))
    store.transact(lambda c: webhooks.note_success(c, "acme", "h0"))
    assert store.read(lambda c: webhooks.all_of(c, "acme")) == [changed._replace(failing_since=None), HOOK]


def test_an_event_goes_to_the_webhooks_that_ask_for_it(store: SqlStore) -> None:
    add(
        store,
        HOOK,
        HOOK._replace(webhook_id="h2", event_types=("token.banned",)),
        HOOK._replace(webhook_id="h3", event_types=("token.banned", "incident.opened")),
        HOOK._replace(webhook_id="h4", disable_reason="gone"),
        HOOK._replace(webhook_id="h5", tenant_id="globex"),
    )
    append(store, device_id="d", n=1, note="ö")
    (delivery,) = stored(store)
    (other,) = stored(store, "h3")
    assert (stored(store, "h2"), stored(store, "h4")) == ([], [])
    assert other == delivery._replace(webhook_id="h3")
    assert len(delivery.event_id) == 32
    assert (delivery.event_type, delivery.ordering_key, delivery.attempt_count) == ("incident.opened", "d", 0)
    assert json.loads(delivery.data) == {"device_id": "d", "n": 1, "note": "ö"}
    assert store.read(lambda c: outbox.due(c, LATER, 9)) == [("acme", "h1"), ("acme", "h3")]
    assert store.read(lambda c: outbox.due(c, LATER, 1))
    assert store.read(lambda c: outbox.due(c, 1, 9)) == []


def test_an_event_that_nobody_knows_is_refused(store: SqlStore) -> None:
    with pytest.raises(ValueError, match=r"'incident.open': expected one of .*incident.opened"):
        append(store, "incident.open")


def test_an_event_is_not_sent_of_what_did_not_happen(store: SqlStore) -> None:
    add(store, HOOK)

    def work(connection: sa.Connection) -> None:
        outbox.append(connection, "acme", "incident.opened", {})
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.transact(work)
    assert stored(store) == []


def test_what_is_claimed_is_nobody_elses_for_a_while(store: SqlStore) -> None:
    add(store, HOOK)
    for n in range(3):
        append(store, n=n)
    now = time.time_ns()
    first = claim(store, now=now, limit=2)
    assert (names(first), names(claim(store, now=now)), claim(store, now=now)) == ([0, 1], [2], [])
    # Whoever claimed them is taken for lost.
    again = claim(store, now=now + 60 * SECOND)
    assert [each.event_id for each in again[:2]] == [each.event_id for each in first]
    assert again[0].lease_id != first[0].lease_id
    # It was not lost, and fails now: that changes nothing.
    fail(store, first[0], None)
    assert stored(store, dead_only=True) == []
    # What it has delivered is delivered.
    settle(store, first[1])
    assert names(stored(store)) == [2, 0]


def test_events_of_a_device_keep_their_order(store: SqlStore) -> None:
    add(store, HOOK)
    for n in range(3):
        append(store, device_id="a", n=n)
    append(store, device_id="b", n=3)
    append(store, n=4)
    append(store, n=5)
    now = time.time_ns()
    first = claim(store, now=now)
    assert names(first) == [0, 3, 4, 5]
    assert claim(store, now=now) == []
    fail(store, first[0], now + 10 * SECOND)
    assert claim(store, now=now) == []
    (again,) = claim(store, now=now + 10 * SECOND)
    assert (names([again]), again.attempt_count) == ([0], 1)
    settle(store, again)
    (second,) = claim(store, now=now)
    assert names([second]) == [1]
    # A dead letter does not keep the others waiting.
    fail(store, second, None)
    assert names(claim(store, now=now)) == [2]


def test_sequences_count_up_whatever_the_clock_says(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    add(store, HOOK)
    for moment in (2_000, 1_000, 1_500):
        monkeypatch.setattr(time, "time_ns", lambda moment=moment: moment)
        append(store, device_id="a", n=moment)
    assert names(stored(store)[::-1]) == [2_000, 1_000, 1_500]


def test_a_failure_is_told(store: SqlStore) -> None:
    add(store, HOOK)
    append(store)
    (delivery,) = claim(store)
    fail(store, delivery, LATER, 503)
    (failed,) = stored(store)
    assert (failed.attempt_count, failed.next_attempt_time, failed.lease_id) == (1, LATER, "")
    assert (failed.status_code, failed.error) == (503, "no")
    (second,) = claim(store, now=LATER)
    fail(store, second, None)
    (dead,) = stored(store, dead_only=True)
    assert (dead.first_failure_time, dead.attempt_count) == (failed.first_failure_time, 2)


def test_dead_letters_are_sent_again_as_if_they_were_new(store: SqlStore) -> None:
    add(store, HOOK, HOOK._replace(webhook_id="h2"))
    for n in range(3):
        append(store, n=n)
    for delivery in claim(store)[1:]:
        fail(store, delivery, None)
    wanted = stored(store, dead_only=True)[0].event_id
    assert store.transact(lambda c: outbox.revive(c, "acme", "h1", [wanted, "unknown"], 7)) == 1
    (revived,) = claim(store, now=7)
    assert (names([revived]), revived.attempt_count, revived.first_failure_time) == ([2], 0, None)
    assert store.transact(lambda c: outbox.revive(c, "acme", "h1", [], 7)) == 1
    assert stored(store, dead_only=True) == []
    assert len(stored(store, "h2")) == 3


def test_a_webhook_takes_what_it_was_yet_to_be_sent_with_it(store: SqlStore) -> None:
    add(store, HOOK, HOOK._replace(webhook_id="h2"))
    append(store)
    store.transact(lambda c: webhooks.delete(c, "acme", "h1"))
    assert (stored(store), len(stored(store, "h2"))) == ([], 1)
    assert store.read(lambda c: outbox.due(c, LATER, 9)) == [("acme", "h2")]


def test_nothing_is_tried_while_a_receiver_is_left_alone(store: SqlStore) -> None:
    add(store, HOOK._replace(not_before=LATER))
    append(store)
    assert claim(store) == []
    store.transact(lambda c: webhooks.update(c, HOOK))
    for n in range(2):
        append(store, n=n)
    held = claim(store, limit=1)
    store.transact(lambda c: outbox.postpone(c, "acme", "h1", LATER))
    assert claim(store) == []
    assert {each.next_attempt_time for each in stored(store) if not each.lease_id} == {LATER}
    assert [each.lease_id for each in stored(store) if each.lease_id] == [held[0].lease_id]


def test_what_is_pending_is_buried(store: SqlStore) -> None:
    add(store, HOOK)
    append(store)
    append(store)
    claim(store, limit=1)
    store.transact(lambda c: outbox.bury(c, "acme", "h1", "over"))
    assert [each.error for each in stored(store, dead_only=True)] == ["over", "over"]
    assert claim(store, now=LATER) == []


def test_what_was_claimed_is_let_go_of(store: SqlStore) -> None:
    add(store, HOOK, HOOK._replace(webhook_id="h2"))
    append(store)
    taken = claim(store)
    claim(store, "h2")
    store.transact(lambda c: outbox.release(c, taken, 7))
    again = claim(store, now=7)
    assert [each.event_id for each in again] == [each.event_id for each in taken]
    assert claim(store, "h2", now=7) == []
    store.transact(lambda c: outbox.release_all(c, 7))
    assert len(claim(store, now=7)) == len(claim(store, "h2", now=7)) == 1


def test_dead_letters_are_kept_for_a_month(store: SqlStore) -> None:
    add(store, HOOK)
    append(store, n=0)
    append(store, n=1)
    fail(store, claim(store, limit=1)[0], None)
    month = 30 * 86_400 * SECOND
    for now, left in ((time.time_ns() + month - 60 * SECOND, [1, 0]), (time.time_ns() + month, [1])):
        store.transact(lambda c, now=now: outbox.forget(c, "acme", "h1", now))  # type: ignore[misc]
        assert names(stored(store)) == left


def test_lists_in_pages(store: SqlStore) -> None:
    add(store, HOOK)
    for n in range(5):
        append(store, n=n)
    first = store.read(lambda c: outbox.page(c, "acme", "h1", None, 3, dead_only=False))
    before = (first[-1].sequence, first[-1].event_id)
    rest = store.read(lambda c: outbox.page(c, "acme", "h1", before, 9, dead_only=False))
    assert (names(first), names(rest)) == ([4, 3, 2], [1, 0])


def test_servers_that_claim_at_once_get_different_deliveries(store: SqlStore) -> None:
    """And do not wait for each other, where the store lets several write at once."""
    if store.one_writer:
        pytest.skip("one server at a time works on an embedded store")
    add(store, HOOK)
    for n in range(20):
        append(store, n=n)
    both = threading.Barrier(2, timeout=WAIT_SECONDS)

    def work(connection: sa.Connection) -> list[Delivery]:
        now = time.time_ns()
        taken = outbox.claim(connection, "acme", "h1", now, now + 60 * SECOND, 10)
        both.wait()  # neither has committed
        return taken

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(lambda _: store.transact(work, alone=False), range(2))
    assert sorted(names(first) + names(second)) == list(range(20))
