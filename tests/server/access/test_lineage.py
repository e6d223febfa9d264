from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from spacelink.token import Token
from spacelink_server.access import lineage as lineage_module
from spacelink_server.errors import UnavailableError
from spacelink_server.storage import audit, lineage
from tests.server.services.access_calls import mint
from tests.server.waiting import until

if TYPE_CHECKING:
    from spacelink_server.access.lineage import Lineage
    from tests.server.installation import Installation


@pytest.fixture
def counted(installation: Installation) -> Lineage:
    return lineage_module.Lineage(installation.database)


def present(installation: Installation, counted: Lineage, token: Token, count: int = 1) -> None:
    for _ in range(count):
        counted.count(installation.verifier.verify(str(token)))


async def uses(installation: Installation, token: Token) -> dict[str, int]:
    """Give how often each prefix of a token and its descendants was presented, by the last caveat."""
    identifier = token.identifier
    nodes = await installation.database.read(
        lambda connection: lineage.graph(connection, (identifier.tenant,), identifier.token_id)
    )
    return {node.caveat: node.use_count for node in nodes}


async def first_uses(installation: Installation, tenant_id: str = "default") -> list[dict[str, Any]]:
    rows = await installation.database.read(
        lambda connection: audit.page(connection, tenant_id, action="token.first_use", limit=1000)
    )
    return [json.loads(row.event) for row in reversed(rows)]


@pytest.fixture
async def token(installation: Installation) -> Token:
    text = await mint(installation, installation.operator, "scope = a:b")
    await installation.lineage.flush()
    return Token.parse(text)


async def test_the_first_use_of_what_was_attenuated_is_audited(
    installation: Installation, counted: Lineage, token: Token
) -> None:
    site = token.attenuate(label="site")
    device = site.attenuate(label="device")
    present(installation, counted, token)
    present(installation, counted, device, 3)
    await counted.flush()
    present(installation, counted, device)
    present(installation, counted, site)
    await counted.flush()
    await counted.flush()
    assert await uses(installation, token) == {
        "": 0,
        "tenant = default": 0,
        "scope = a:b": 1,
        "label = site": 1,
        "label = device": 4,
    }
    events = await first_uses(installation)
    name = token.identifier.token_id
    assert [(event["actor"], event["resource"]) for event in events] == [
        (f"token:{name}/site/device", f"token:{name}"),
        (f"token:{name}/site", f"token:{name}"),
    ]
    assert events[0]["detail"]["caveats"] == [
        "tenant = default",
        "scope = a:b",
        "label = site",
        "label = device",
    ]


async def test_operators_are_counted_under_the_installation(
    installation: Installation, counted: Lineage
) -> None:
    present(installation, counted, Token.parse(installation.operator).attenuate(tenant="default"))
    await counted.flush()
    (event,) = await first_uses(installation, "*")
    assert event["tenant_id"] == "*"
    assert await first_uses(installation) == []


async def test_what_the_store_does_not_take_is_kept(
    installation: Installation, counted: Lineage, token: Token
) -> None:
    def rename(*names: str) -> None:
        installation.store.transact(
            lambda connection: connection.exec_driver_sql("ALTER TABLE {} RENAME TO {}".format(*names))
        )

    present(installation, counted, token, 2)
    rename("token_uses", "elsewhere")
    with pytest.raises(UnavailableError):
        await counted.flush()
    present(installation, counted, token, 3)
    rename("elsewhere", "token_uses")
    await counted.flush()
    assert (await uses(installation, token))["scope = a:b"] == 5


async def test_many_tokens_take_many_transactions(
    installation: Installation, counted: Lineage, token: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lineage_module, "_USES_AT_ONCE", 10)
    for number in range(25):
        present(installation, counted, token.attenuate(label=f"{number}"), number + 1)
    await counted.flush()
    found = await uses(installation, token)
    assert {f"label = {number}": number + 1 for number in range(25)}.items() <= found.items()
    assert len(await first_uses(installation)) == 25


async def test_memory_is_bounded(
    installation: Installation, counted: Lineage, token: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lineage_module, "_MAX_PENDING", 3)
    for number in range(5):
        present(installation, counted, token.attenuate(label=f"{number}"), 2)
    await counted.flush()
    assert len(await first_uses(installation)) == 3
    present(installation, counted, token)
    await counted.flush()
    assert (await uses(installation, token))["scope = a:b"] == 1


async def test_it_flushes_by_itself(installation: Installation, counted: Lineage, token: Token) -> None:
    running = asyncio.create_task(counted.run())
    present(installation, counted, token)
    await until(lambda: not counted._uses)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    while not (await uses(installation, token)).get("scope = a:b"):
        await asyncio.sleep(0.01)
