"""The `spacelink agent` command."""

from __future__ import annotations

import asyncio
import logging
import math
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.logging import RichHandler

from spacelink._channel import DEFAULT_TARGET
from spacelink.cli._connection import describe, server_setting, tls_settings
from spacelink.cli._given_credential import api_key_file_setting, take_credential, token_file_setting
from spacelink.cli.settings import config_file, setting
from spacelink.errors import SpaceLinkError
from spacelink.uplink import DEFAULT_WINDOW
from spacelink_agent._run import Link, run_agent
from spacelink_agent.collectors import CollectorError
from spacelink_agent.rejected_command import rejected
from spacelink_agent.settings import COLLECTORS, AgentSettings, SettingsError, default_spool
from spacelink_agent.spool import FullPolicy, SpoolError

# With 72 metrics this many samples still fit into the 4 MiB that a server takes.
_MAX_BATCH_SAMPLES = 10_000
# Seven hours of one terminal at 1 Hz; less would not outlast a night without a link.
_MIN_SPOOL_BYTES = 1024 * 1024
# Ten times a second is what the simulator's and the host's models are good for.
_MIN_INTERVAL = 0.1


class _Speed(click.ParamType[float]):
    name = "speed"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if value == "max":
            return math.inf
        try:
            speed = float(value)
        except (TypeError, ValueError):
            speed = 0.0
        if not speed > 0:
            self.fail(f"{value!r}: expected a number above 0, or max", param, ctx)
        return speed


@click.group(invoke_without_command=True, subcommand_metavar="[COMMAND]")
@config_file()
@server_setting("--server", default=DEFAULT_TARGET, help="The server.")
@token_file_setting("File with the token, which may be replaced any time; or SPACELINK_TOKEN is the token.")
@api_key_file_setting("File with an API key instead, likewise; or SPACELINK_API_KEY is the key.")
@tls_settings
@setting(
    "--device-id",
    multiple=True,
    metavar="ID",
    help="The device that is measured; the simulator takes several.  [default: the host's name]",
)
@setting("--collector", type=click.Choice(COLLECTORS), help="Where samples come from.  [required]")
@setting(
    "--spool",
    type=click.Path(file_okay=False, path_type=Path),
    default=default_spool,
    show_default="~/.local/state/spacelink/spool",
    help="Directory that keeps samples until the server has them; one for each agent.",
)
@setting(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="replay: CSV file, .gz or not.",
)
@setting("--speed", type=_Speed(), metavar="N|max", help="replay: times faster than recorded.  [default: 1]")
@setting(
    "--column",
    multiple=True,
    metavar="METRIC=COLUMN[*FACTOR]",
    help="replay: where a metric, the time or the status is in the file; /DIVISOR goes, too.",
)
@setting(
    "--interval",
    type=click.FloatRange(min=_MIN_INTERVAL),
    metavar="SECONDS",
    help="simulator, host: between two samples.  [default: 1; host: 10]",
)
@setting("--seed", type=int, help="simulator: the same seed gives the same samples.  [default: 0]")
@setting("--target", multiple=True, metavar="HOST:PORT", help="host: where to connect to.")
@setting("--interface", metavar="NAME", help="host: whose traffic.  [default: the default route's]")
@setting(
    "--batch-samples",
    type=click.IntRange(1, _MAX_BATCH_SAMPLES),
    default=60,
    show_default=True,
    help="Send a batch when a device has so many samples.",
)
@setting(
    "--batch-age",
    type=click.FloatRange(min=0.1),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="Or when the first of them is so old.",
)
@setting(
    "--window",
    type=click.IntRange(min=1),
    default=DEFAULT_WINDOW,
    show_default=True,
    help="Batches under way without an ack.",
)
@setting(
    "--spool-bytes",
    type=click.IntRange(min=_MIN_SPOOL_BYTES),
    default=256 * 1024 * 1024,
    show_default=True,
    help="The most the spool takes on disk.",
)
@setting(
    "--spool-full",
    type=click.Choice([policy.value for policy in FullPolicy]),
    help="What happens then.  [default: drop-oldest; replay: block]",
)
@setting(
    "--compression",
    type=click.Choice(["none", "gzip"]),
    default="none",
    show_default=True,
    help="gzip for thin links.",
)
@click.pass_context
def agent(context: click.Context, /, **settings: Any) -> None:
    """Run the agent of a terminal.

    Samples go to the spool on disk first, and from there to the server. What
    the server has not committed survives kill -9, a full disk and any outage.
    SIGTERM delivers what it can within five seconds and leaves the rest there.
    A server that refuses the credential is asked again when its file is
    replaced, and every minute; a replay ends then, to be run again.

    What the server will never store is set aside: see `rejected --help`.

    The replay ends when the whole file is committed. Run again, it goes on
    where it was. Times are the file's: RFC 3339, or a number of seconds, ms, µs
    or ns since 1970. A cell is read as float64, scaled as float64 and rounded to
    float32. Files of FjordLink's dish recordings are recognised; otherwise
    columns named like metrics are taken for them. A row that cannot be stored is
    set aside, the others are stored, and the exit status is 1.

    The host collector measures TCP connect times to its targets. One whose name
    cannot be resolved is measured at its last address, or not at all: that is no
    loss. Without any address there is no latency and no loss, and the status is
    OFFLINE only while the machine has no interface or route to the network.

    \b
    Examples:
      spacelink agent --collector simulator --device-id dish-1 --device-id dish-2
      spacelink agent --collector host --target example.org:443
      spacelink agent --server gateway.example:50051 --token-file dish-1.token --collector simulator
      spacelink agent --collector replay --file recording.csv.gz --speed max
      spacelink agent --collector replay --file log.csv --column time=when \\
          --column latency_ms=rtt_s*1000 --column packet_loss_percent=lost
      spacelink agent rejected list
    """
    if context.invoked_subcommand is not None:
        return
    if settings["collector"] is None:
        missing = next(param for param in agent.params if param.name == "collector")
        raise click.MissingParameter(ctx=context, param=missing)
    _run(AgentSettings(credential=take_credential(settings), **settings))


def _run(chosen: AgentSettings) -> None:
    try:
        collector = chosen.make_collector()
        link = Link(chosen.server, chosen.make_security(), chosen.make_credentials())
    except (SettingsError, CollectorError) as error:
        raise click.UsageError(str(error)) from None
    console = Console(stderr=True)
    _log_to(console)
    try:
        asyncio.run(run_agent(chosen, collector, link, console))
    except SpaceLinkError as error:
        raise click.ClickException(describe(error, chosen.server, "--server")) from None
    except (SpoolError, CollectorError) as error:
        raise click.ClickException(str(error)) from None


agent.add_command(rejected)


def _log_to(console: Console) -> None:
    # On a terminal the lines must go around the progress bar.
    if console.is_terminal:
        logging.basicConfig(
            level=logging.INFO, format="%(message)s", handlers=[RichHandler(console=console, show_path=False)]
        )
    else:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
