"""The spacelink command."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import click

from spacelink._interrupts import INTERRUPTED, raise_again

if TYPE_CHECKING:
    from collections.abc import Mapping

# Each command's object and its one-line help. Commands are imported when they
# are called, so that the SDK's commands neither wait for the server's imports
# nor need its packages.
_COMMANDS: Mapping[str, tuple[str, str]] = {
    "up": ("spacelink.cli.up:up", "Run a server, the REST bridge and a simulated fleet, for a first look."),
    "server": ("spacelink_server.command:server", "Run the gRPC server."),
    "rest": ("spacelink_rest.command:rest", "Run the REST bridge."),
    "db": ("spacelink_server.db_command:db", "Upgrade the schema of the server's store."),
    "agent": ("spacelink_agent.command:agent", "Run the agent of a terminal."),
    "telemetry": ("spacelink.cli.telemetry:telemetry", "Send, read and watch telemetry."),
    "network": ("spacelink.cli.network:network", "Health, SLA, trends and incidents of networks."),
    "token": ("spacelink.cli.token:token", "Mint, narrow, explain and ban capability tokens."),
    "session": ("spacelink.cli.session:session", "Log in, and ask who one is."),
    "api-key": ("spacelink.cli.api_key:api_key", "Manage API keys: credentials that stand for tokens."),
    "partner": ("spacelink.cli.partner:partner", "Take partners in, and give them sandboxes."),
    "webhook": ("spacelink.cli.webhook:webhook", "Have events sent to URLs, signed and repeated."),
    "user": ("spacelink.cli.user:user", "Manage users, who log in with a password."),
    "tenant": ("spacelink.cli.tenant:tenant", "Manage tenants."),
    "audit": ("spacelink.cli.audit:audit", "Export and verify the record of what was done."),
}


_EXTRAS = {"server": "server", "db": "server", "rest": "rest", "agent": "agent"}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name][0].partition(":")
        try:
            command = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("spacelink"):
                raise
            extra = _EXTRAS.get(cmd_name, "all")
            raise click.ClickException(
                f"'spacelink {cmd_name}' needs the package {error.name}: pip install 'spacelink[{extra}]'"
            ) from None
        assert isinstance(command, click.Command)  # noqa: S101
        # All is imported; from here on the command may have something to end in order.
        raise_again()
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            # Commands that have something to end do so themselves; this one was just begun, or waits.
            ctx.exit(INTERRUPTED)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # From the table: help must not import every command.
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="spacelink")
def main() -> None:
    """SpaceLink: the gateway for fleets of satellite terminals."""
