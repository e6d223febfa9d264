from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from spacelink_server.storage import limits
from spacelink_server.storage.limits import Lease, LeaseRequest, UnusedUnits
from spacelink_server.storage.schema import limit_state

if TYPE_CHECKING:
    from spacelink_server.storage.sql_store import SqlStore
    from tests.server.stores import Place

MINUTE = 60
HOUR = 3600
DAY = 86_400
# The start of a day, and so of every window.
T0 = 20_000 * DAY


def request(
    digest: bytes = b"a",
    tenant_id: str = "acme",
    window_start: int = T0,
    window_seconds: int = MINUTE,
    amount: int = 100,
    least: int = 1,
    most: int = 6,
) -> LeaseRequest:
    return LeaseRequest(tenant_id, digest, window_start, window_seconds, amount, least, most)


def lease(store: SqlStore, *requests: LeaseRequest) -> list[Lease]:
    return store.transact(lambda connection: limits.lease(connection, requests))


def give_back(store: SqlStore, *unused: UnusedUnits) -> None:
    store.transact(lambda connection: limits.give_back(connection, unused))


def used(store: SqlStore, of: LeaseRequest) -> int:
    return store.read(lambda connection: limits.used(connection, of.tenant_id, of.digest, of.window_start))


def windows(store: SqlStore) -> set[tuple[str, bytes, int]]:
    columns = limit_state.c
    query = sa.select(columns.tenant_id, columns.limit_digest, columns.window_start_unix)
    return store.read(lambda connection: {tuple(row) for row in connection.execute(query)})


def test_leases_until_nothing_is_left(store: SqlStore) -> None:
    leases = [lease(store, request(amount=14))[0] for _ in range(4)]
    assert leases == [Lease(6, 8), Lease(6, 2), Lease(2, 0), Lease(0, 0)]
    assert used(store, request()) == 14


def test_fewer_than_the_least_are_not_leased(store: SqlStore) -> None:
    lease(store, request(amount=10))
    assert lease(store, request(amount=10, least=5)) == [Lease(0, 4)]
    assert used(store, request()) == 6
    assert lease(store, request(amount=10, least=4)) == [Lease(4, 0)]


def test_what_was_never_leased_is_not_used(store: SqlStore) -> None:
    assert used(store, request()) == 0
    assert lease(store, request(amount=3, least=4, most=4)) == [Lease(0, 3)]
    assert windows(store) == set()


@pytest.mark.parametrize(
    "other",
    [
        request(tenant_id="beta"),
        request(digest=b"b"),
        request(window_start=T0 + MINUTE),
    ],
)
def test_limits_and_windows_are_apart(store: SqlStore, other: LeaseRequest) -> None:
    first, second = lease(store, request(amount=6), other._replace(amount=6))
    assert first == second == Lease(6, 0)
    give_back(store, UnusedUnits(other.tenant_id, other.digest, other.window_start, 2))
    assert (used(store, request()), used(store, other)) == (6, 4)


def test_one_limit_twice_in_a_transaction(store: SqlStore) -> None:
    assert lease(store, request(amount=10), request(amount=10)) == [Lease(6, 4), Lease(4, 0)]


def test_units_given_back_are_leased_again(store: SqlStore) -> None:
    lease(store, request(amount=6))
    give_back(store, UnusedUnits("acme", b"a", T0, 2), UnusedUnits("acme", b"a", T0, 1))
    assert lease(store, request(amount=6)) == [Lease(3, 0)]


def test_more_than_was_leased_is_not_taken_back(store: SqlStore) -> None:
    """A row that was deleted and opened again does not know of older leases."""
    lease(store, request(most=3))
    give_back(store, UnusedUnits("acme", b"a", T0, 4), UnusedUnits("acme", b"gone", T0, 4))
    assert used(store, request()) == 3
    assert windows(store) == {("acme", b"a", T0)}


def test_an_amount_that_was_lowered(store: SqlStore) -> None:
    lease(store, request(amount=100, most=50))
    assert lease(store, request(amount=20)) == [Lease(0, 0)]
    assert lease(store, request(amount=52)) == [Lease(2, 0)]


def test_what_fails_is_undone(store: SqlStore) -> None:
    def fail(connection: sa.Connection) -> None:
        limits.lease(connection, [request()])
        raise LookupError

    with pytest.raises(LookupError):
        store.transact(fail)
    assert lease(store, request(most=100)) == [Lease(100, 0)]


def test_leases_outlive_the_process(place: Place) -> None:
    for left in (94, 88):
        store = place.open()
        assert lease(store, request()) == [Lease(6, left)]
        store.close()


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("lease"), st.integers(1, 30), st.integers(1, 40)),
        st.tuples(st.just("give back"), st.integers(0, 9), st.integers(1, 30)),
    ),
    max_size=20,
)


@settings(deadline=None)
@given(amount=st.integers(1, 60), actions=ACTIONS)
def test_the_sum_is_exact(shared: SqlStore, amount: int, actions: list[tuple[str, int, int]]) -> None:
    digest = uuid.uuid4().bytes
    held: list[int] = []

    def act(connection: sa.Connection) -> None:
        for action, first, second in actions:
            if action == "lease":
                wanted = request(digest, amount=amount, least=first, most=max(first, second))
                free = amount - sum(held)
                held.append(min(free, wanted.most) if free >= first else 0)
                assert limits.lease(connection, [wanted]) == [Lease(held[-1], amount - sum(held))]
            elif first < len(held):
                units = min(held[first], second)
                held[first] -= units
                limits.give_back(connection, [UnusedUnits("acme", digest, T0, units)])

    shared.transact(act)
    assert used(shared, request(digest)) == sum(held) <= amount


# Windows that are over


def test_the_window_before_is_kept_and_earlier_ones_are_deleted(store: SqlStore) -> None:
    for hour in range(4):
        lease(store, request(window_start=T0 + hour * HOUR, window_seconds=HOUR))
    assert windows(store) == {("acme", b"a", T0 + 2 * HOUR), ("acme", b"a", T0 + 3 * HOUR)}


def test_short_windows_are_kept_for_a_minute(store: SqlStore) -> None:
    for second in range(100):
        lease(store, request(window_start=T0 + second, window_seconds=1))
    assert {start for _, _, start in windows(store)} == set(range(T0 + 39, T0 + 100))


def test_only_a_new_window_deletes(store: SqlStore) -> None:
    late = request(window_start=T0 + HOUR)
    for of in (late, request(), late):
        lease(store, of)
    assert windows(store) == {("acme", b"a", T0), ("acme", b"a", T0 + HOUR)}


def test_limits_that_nobody_uses_are_forgotten_in_passing(store: SqlStore) -> None:
    old = {bytes([n]) for n in range(40)}
    lease(store, *(request(digest) for digest in old), request(b"a", "beta"))
    lease(store, request(b"kept", window_start=T0 + DAY + HOUR))
    assert len(windows(store)) == 42
    remaining = []
    for n in range(4):
        lease(store, request(b"new", window_start=T0 + 3 * DAY + n * MINUTE))
        remaining.append(len(old & {digest for _, digest, _ in windows(store)}))
    assert remaining == [24, 8, 0, 0]
    assert {("beta", b"a", T0), ("acme", b"kept", T0 + DAY + HOUR)} <= windows(store)
