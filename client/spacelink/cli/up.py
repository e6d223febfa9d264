"""The `spacelink up` command."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import signal
import socket
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from spacelink import AsyncSpaceLinkClient
from spacelink._channel import DEFAULT_ADMIN_TARGET, DEFAULT_TARGET
from spacelink.cli._connection import RETRY_SECONDS
from spacelink.cli._first_look import ACCOUNTS, TokenFiles, create_accounts, write_tokens
from spacelink.cli._fleet import Fleet, follow, show_live
from spacelink.cli._moments import DurationParam
from spacelink.cli._processes import Child
from spacelink.errors import SpaceLinkError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from typing import Any

_HOST, _, _DATA_PORT = DEFAULT_TARGET.rpartition(":")
_ADMIN_PORT = DEFAULT_ADMIN_TARGET.rpartition(":")[2]
_REST_PORT, _REST_ADMIN_PORT = "8000", "9090"
_DEVICES = [f"dish-{number:02}" for number in range(1, 9)]

# A cold start on a busy small machine, migrations included, takes a few seconds.
_READY_SECONDS = 30.0
# In a pipe: often enough to see that it lives, seldom enough for a log.
_LINE_SECONDS = 5.0

_READY = re.compile(r"ready data=(\S+) admin=(\S+)")


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to keep the data. Default: a temporary directory, removed at the end.",
)
@click.option(
    "--for",
    "seconds",
    type=DurationParam(),
    help="End after a while, such as 20s, 5m, 1h. Default: at Ctrl-C.",
)
def up(data_dir: Path | None, seconds: float | None) -> None:
    """Run a server, the REST bridge and a small simulated fleet, for a first look.

    Prints the addresses and what to try with them, then shows the fleet live.
    Everything listens on loopback only and ends with this command.

    \b
    Examples:
      spacelink up
      spacelink up --for 20s
      spacelink up --data-dir ./first-look
    """
    if data_dir is not None:
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise click.ClickException(f"{data_dir}: {error.strerror}") from None
        _run(data_dir, seconds, "")
        return
    with tempfile.TemporaryDirectory(prefix="spacelink-") as directory:
        _run(Path(directory), seconds, " (removed at the end)")


def _run(data_dir: Path, seconds: float | None, remark: str) -> None:
    try:
        asyncio.run(_until_stopped(_serve(data_dir, remark), seconds))
    except* (SpaceLinkError, click.ClickException) as errors:
        raise _first(errors) from None


def _first(errors: BaseExceptionGroup[Any]) -> click.ClickException:
    error = errors.exceptions[0]
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, click.ClickException) else click.ClickException(str(error))


async def _until_stopped(work: Coroutine[Any, Any, None], seconds: float | None) -> None:
    """Do the work until a signal comes or the time is up."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    if seconds is not None:
        loop.call_later(seconds, task.cancel)
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()


async def _serve(data_dir: Path, remark: str) -> None:
    async with AsyncExitStack() as stack:
        server = await Child.start(
            "server",
            *("--data-dir", str(data_dir), "--trusted-proxy", f"{_HOST}/32"),
            *("--listen", _listen(_DATA_PORT), "--admin-listen", _listen(_ADMIN_PORT)),
            log_file=data_dir / "server.log",
            is_read=True,
        )
        stack.push_async_callback(server.stop)
        address, admin_address = await _addresses(server)
        bridge = await Child.start(
            "rest",
            *("--server", address, "--admin-server", admin_address),
            *("--listen", _listen(_REST_PORT), "--admin-listen", _listen(_REST_ADMIN_PORT)),
            log_file=data_dir / "rest.log",
            is_read=True,
        )
        stack.push_async_callback(bridge.stop)
        files = write_tokens(data_dir, _DEVICES)
        await create_accounts(admin_address, files.visitor)
        agent = await Child.start(
            "agent",
            *("--server", address, "--token-file", str(files.fleet)),
            *("--collector", "simulator", "--batch-age", "1", "--spool", str(data_dir / "spool")),
            *(argument for device_id in _DEVICES for argument in ("--device-id", device_id)),
            log_file=data_dir / "agent.log",
        )
        stack.push_async_callback(agent.stop)
        planes = _Planes(address, admin_address, *await _addresses(bridge))
        click.echo(_introduction(planes, f"{data_dir}{remark}", files))
        async with asyncio.TaskGroup() as tasks:
            for child in (server, bridge, agent):
                tasks.create_task(child.ended())
            tasks.create_task(_show(address, files.visitor))


async def _addresses(child: Child) -> tuple[str, str]:
    """Wait until a child is ready, and give its addresses."""
    line = await child.first_line(_READY_SECONDS)
    ready = _READY.match(line)
    if ready is None:
        raise click.ClickException(f"expected to be told that it is ready, not {line!r}")
    return ready[1], ready[2]


def _listen(port: str) -> str:
    """Give the address for a port, or for any free one where it is taken."""
    with socket.socket() as probe:
        # As servers do: connections that ended a moment ago are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, int(port)))
        except OSError:
            click.echo(f"port {port} is taken; using another one")
            return f"{_HOST}:0"
    return f"{_HOST}:{port}"


class _Planes(NamedTuple):
    """Where everything listens."""

    data: str
    admin: str
    rest: str
    rest_admin: str


def _introduction(planes: _Planes, data: str, files: TokenFiles) -> str:
    command, device, admin, viewer = _command(), _DEVICES[0], ACCOUNTS[0], ACCOUNTS[-1]
    settings = _settings(planes.data, planes.admin, files)
    exports = "\n".join(f"  export {name}={shlex.quote(value)}" for name, value in settings)
    accounts = "\n".join(f"  {name:<16}  {password:<11}  {role}" for name, password, role in ACCOUNTS)
    return f"""
SpaceLink is running, with {len(_DEVICES)} simulated terminals.

  data plane   {planes.data}
  admin plane  {planes.admin}
  REST         http://{planes.rest}/docs
  REST admin   http://{planes.rest_admin}/docs
  data         {data}
  token        {files.visitor}

In another terminal, try:

{exports}
  {command} telemetry latest
  {command} telemetry summary --start -1m
  {command} telemetry query --device-id {device} --start -30s --output csv | head
  {command} token attenuate --device {device} --expires 1h |
    {command} telemetry latest --device-id {device} --token-file -
  echo {viewer.password} | {command} session login {viewer.name} --password-file - |
    {command} session show --token-file -
  {command} token graph
  SPACELINK_TOKEN=$(cat "$SPACELINK_TOKEN_FILE") grpcurl -plaintext \\
    -expand-headers -H 'authorization: Bearer ${{SPACELINK_TOKEN}}' \\
    -d '{{"device_ids": ["{device}"]}}' {planes.data} spacelink.v1.TelemetryService/ListLatestTelemetry
  curl -sS -d 'username={admin.name}&password={admin.password}' http://{planes.rest}/v1/auth/token
  curl -sS -H "Authorization: Bearer $(cat "$SPACELINK_TOKEN_FILE")" \\
    'http://{planes.rest}/v1/telemetry/?device_id={device}&limit=3'

Demo accounts, which no other server has:

{accounts}

Ctrl-C ends it.
"""


def _settings(address: str, admin_address: str, files: TokenFiles) -> Iterator[tuple[str, str]]:
    """Give the variables that client commands need."""
    yield "SPACELINK_TOKEN_FILE", str(files.visitor.absolute())
    for name, value, default in (
        ("SPACELINK_SERVER", address, DEFAULT_TARGET),
        ("SPACELINK_ADMIN_SERVER", admin_address, DEFAULT_ADMIN_TARGET),
    ):
        if value != default or name in os.environ:
            yield name, value


def _command() -> str:
    """Give what runs this program from anywhere."""
    here = Path(sys.argv[0])
    found = shutil.which("spacelink")
    if found is not None and here.exists() and Path(found).samefile(here):
        return "spacelink"
    if here.name == "spacelink":
        return shlex.quote(str(here.absolute()))
    return f"{shlex.quote(sys.executable)} -m spacelink"


async def _show(address: str, token_file: Path) -> None:
    async with AsyncSpaceLinkClient(address, token_file=token_file, retry_for=RETRY_SECONDS) as client:
        if sys.stdout.isatty():
            await show_live(client)
        else:
            await _print_lines(client)


async def _print_lines(client: AsyncSpaceLinkClient) -> None:
    fleet = Fleet()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(follow(client, fleet))
        while True:
            await asyncio.sleep(_LINE_SECONDS)
            click.echo(fleet.line())
