"""Agents with tokens narrowed to their device, against a server that bans and refuses them."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from spacelink import AdminClient, SpaceLinkClient, Token
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


def test_batches_that_a_key_does_not_allow_wait_for_another_one(
    servers: StartServer, agents: StartAgent, tmp_path: Path
) -> None:
    server = servers(tmp_path / "server")
    recording = make_recording(tmp_path, "dish-2", 300, seed=3)
    with SpaceLinkClient(server.address, token=server.token, tenant="default") as client:
        keys = {
            device: client.generate_api_key(device, scope="telemetry:write", device=device).secret
            for device in ("dish-1", "dish-2")
        }
    key_file = put_secret(tmp_path / "agents.key", keys["dish-1"])
    flags = ("--api-key-file", str(key_file))
    refused = agents(server, recording, *flags)
    assert refused.process.wait(EXIT_SECONDS) == 1
    problem = "device 'dish-2' is not in 'dish-1' (DEVICE_DENIED)"
    assert f"Error: {problem}; put another into {key_file}\n" in refused.log
    put_secret(key_file, keys["dish-2"])
    agents(server, recording, *flags).finish()
    assert stored_samples(server.data_dir) == {"dish-2": 300}
    assert not (tmp_path / "spool-dish-2" / "rejected").exists()
