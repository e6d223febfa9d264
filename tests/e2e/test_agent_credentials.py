"""Agents with tokens narrowed to their device, against a server that bans and refuses them."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from spacelink import AdminClient, Token
from tests.conftest import EXIT_SECONDS, ServerProcess, StartServer
from tests.e2e.agents import StartAgent, make_recording, put_secret, simulating, wait_until
from tests.e2e.batches import stored_samples

DEVICE = "site-7/dish-1"


def narrowed(server: ServerProcess, **bounds: str) -> Token:
    return Token.parse(server.token).attenuate(tenant="default", scope="telemetry:write", **bounds)


def stored(server: ServerProcess) -> int:
    return stored_samples(server.data_dir).get(DEVICE, 0)


def test_a_banned_agent_keeps_what_it_measures_for_the_next_token(
    servers: StartServer, tmp_path: Path
) -> None:
    server = servers(tmp_path / "server", "--log-level", "debug")
    first, second = (narrowed(server, device=DEVICE, label=label) for label in ("first", "second"))
    token_file = put_secret(tmp_path / "agent.token", first)
    with simulating(server, tmp_path, "--device-id", DEVICE, "--token-file", str(token_file)) as agent:
        wait_until(lambda: stored(server) > 0, agent)
        with AdminClient(server.admin_address, token=server.token) as operator:
            operator.ban_token(token=first)
        wait_until(lambda: "TOKEN_BANNED" in agent.log, agent)
        before = stored(server)
        put_secret(token_file, second)
        wait_until(lambda: stored(server) > before, agent)
        agent.process.send_signal(signal.SIGTERM)
        assert agent.process.wait(EXIT_SECONDS) == 0, agent.log
    assert server.terminate() == 0
    counts = re.findall(
        r"samples: (\d+) collected, (\d+) acked, 0 rejected, 0 dropped; .* 0 spooled", agent.log
    )
    collected, acked = map(int, counts[-1])
    assert collected == acked == stored(server)
    for secret in (str(first), str(second), server.token):
        assert secret not in agent.log
        assert secret not in server.log


def test_batches_of_another_device_than_the_tokens_are_set_aside(
    servers: StartServer, agents: StartAgent, tmp_path: Path
) -> None:
    server = servers(tmp_path / "server")
    own, others = (make_recording(tmp_path, name, 300, seed=3) for name in ("dish-1", "dish-2"))
    token_file = put_secret(tmp_path / "dish-1.token", narrowed(server, device="dish-1"))
    agents(server, own, "--token-file", str(token_file)).finish()
    refused = agents(server, others, "--token-file", str(token_file))
    assert refused.process.wait(EXIT_SECONDS) == 1
    assert "0 samples in 0 batches stored, 300 rejected, 0 dropped" in refused.log
    assert "DEVICE_DENIED" in refused.log
    assert stored_samples(server.data_dir) == {"dish-1": 300}
