"""What all client commands share: where the server is, what they present, and how errors are told."""

from __future__ import annotations

import functools
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import grpc

from spacelink import AdminClient, AsyncSpaceLinkClient, SpaceLinkClient
from spacelink._channel import DEFAULT_ADMIN_TARGET, DEFAULT_TARGET
from spacelink._client import ConnectionOptions
from spacelink._names import IDENTIFIER_RULE, is_identifier
from spacelink.cli._given_credential import api_key_file_setting, take_credential, token_file_setting
from spacelink.cli.settings import setting
from spacelink.errors import SpaceLinkError, UntrustedServerError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from click.decorators import FC

# A server that restarts is back within a second or two; without one, nobody
# wants to wait longer to be told.
RETRY_SECONDS = 5.0

_PLANES = {"--server": "data", "--admin-server": "admin"}
_OTHERS = {"--server": "--admin-server", "--admin-server": "--server"}

_PEM = click.Path(exists=True, dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True, repr=False)
class Connection:
    """The server that a command speaks to, and how.

    Attributes:
        address: HOST:PORT.
        options: how the clients connect.
        tenant: the tenant that the command is about; empty where it does not say.
    """

    address: str
    options: ConnectionOptions
    tenant: str

    def client(self, retry_for: float = RETRY_SECONDS) -> SpaceLinkClient:
        """Make a blocking client of the data plane."""
        return SpaceLinkClient(self.address, **self._options(retry_for, self.tenant))

    def async_client(self) -> AsyncSpaceLinkClient:
        """Make an asyncio client of the data plane."""
        return AsyncSpaceLinkClient(self.address, **self._options(RETRY_SECONDS, self.tenant))

    def admin_client(self) -> AdminClient:
        """Make a client of the admin plane, whose requests name the tenant themselves."""
        return AdminClient(self.address, **self._options(RETRY_SECONDS, ""))

    def _options(self, retry_for: float, tenant: str) -> ConnectionOptions:
        options = self.options.copy()
        options["retry_for"] = retry_for
        options["tenant"] = tenant or None
        return options


def server_setting(flag: str, *declarations: str, **attributes: Any) -> Callable[[FC], FC]:
    """Declare where a server is; takes what click.option takes."""
    return setting(
        flag, *declarations, show_default=True, metavar="HOST:PORT", callback=_check_address, **attributes
    )


def tls_settings(function: FC) -> FC:
    """Declare how a client protects its connection."""
    for declare in (
        setting("--insecure", is_flag=True, help="Speak plain text wherever the server is."),
        setting("--tls-key", type=_PEM, help="Its private key (PEM)."),
        setting("--tls-cert", type=_PEM, help="Own certificate (PEM), for servers that ask for one."),
        setting("--tls-ca", type=_PEM, help="Authorities of the server's certificate (PEM)."),
    ):
        function = declare(function)
    return function


def client_command(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command of the data plane its Connection, and tell its errors in one line."""
    return _command("--server", DEFAULT_TARGET, "The server.")(_tenant_setting(check_identifier)(function))


def anonymous_command(function: Callable[..., None]) -> Callable[..., None]:
    """Do what client_command does, for calls of those who have no credential yet."""
    tenant = _tenant_setting(check_identifier)
    return _command("--server", DEFAULT_TARGET, "The server.", credential=False)(tenant(function))


def admin_command(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command of the admin plane its Connection, and tell its errors in one line."""
    # What its requests name, the server checks; * is the installation itself.
    return installation_command(_tenant_setting(None)(function))


def installation_command(function: Callable[..., None]) -> Callable[..., None]:
    """Do what admin_command does, for commands that are about no tenant's own things."""
    return _command("--admin-server", DEFAULT_ADMIN_TARGET, "The server's admin plane.")(function)


def _tenant_setting(callback: Callable[..., str | None] | None) -> Callable[[FC], FC]:
    return setting(
        "--tenant",
        metavar="ID",
        callback=callback,
        help="The tenant it is about, for tokens that are good for several.",
    )


def check_identifier(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Refuse what can be no tenant's or device's id; callback of options that may be left out."""
    if value and not is_identifier(value):
        raise click.BadParameter(f"{value!r}: expected {IDENTIFIER_RULE}", ctx, param)
    return value


def _credential_settings(function: FC) -> FC:
    for declare in (
        api_key_file_setting("File with an API key instead; or SPACELINK_API_KEY is the key."),
        token_file_setting("File with the token, - for standard input; or SPACELINK_TOKEN is the token."),
    ):
        function = declare(function)
    return function


def _command(
    flag: str, default: str, text: str, *, credential: bool = True
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @server_setting(flag, "address", default=default, help=text)
        @(_credential_settings if credential else _unchanged)
        @tls_settings
        @functools.wraps(function)
        def command(*args: Any, **kwargs: Any) -> None:
            connection = _take_connection(kwargs)
            # The SDK's warnings would repeat what the command tells.
            logging.getLogger("spacelink").addHandler(logging.NullHandler())
            try:
                function(*args, connection=connection, **kwargs)
            except SpaceLinkError as error:
                raise click.ClickException(describe(error, connection.address, flag)) from None
            except UnicodeEncodeError:
                raise click.UsageError("expected arguments in UTF-8") from None

        return command

    return decorate


def _unchanged(function: FC) -> FC:
    return function


def _take_connection(settings: dict[str, Any]) -> Connection:
    credential = take_credential(settings)
    options = ConnectionOptions(
        tls_ca=settings.pop("tls_ca"),
        tls_cert=settings.pop("tls_cert"),
        tls_key=settings.pop("tls_key"),
        insecure=settings.pop("insecure"),
    )
    if credential is not None:
        options[credential.kind] = credential.read()  # type: ignore[literal-required]
    connection = Connection(settings.pop("address"), options, settings.pop("tenant", None) or "")
    try:
        # For what it has against them: it connects when it is first used.
        AsyncSpaceLinkClient(connection.address, **options)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    except SpaceLinkError as error:
        raise click.ClickException(error.message) from None
    return connection


def describe(error: SpaceLinkError, address: str, flag: str) -> str:
    """Say in one line what went wrong.

    Args:
        error: of a call.
        address: of the server.
        flag: what gave it, --server or --admin-server.
    """
    if isinstance(error, UntrustedServerError):
        return f"cannot speak with the server at {address}: {error.message}"
    if error.code is grpc.StatusCode.UNAVAILABLE and not error.reason:
        return f"cannot reach the server at {address}: {_cause(error.message)}"
    if error.code is grpc.StatusCode.UNIMPLEMENTED and not error.reason:
        plane, other = _PLANES[flag], _PLANES[_OTHERS[flag]]
        return (
            f"the server at {address} does not know this call: {flag} must name its {plane} plane, "
            f"and this may be its {other} plane; or the server is older than this command"
        )
    if error.reason == "CREDENTIAL_REQUIRED":
        return "the server asks for a credential: give --token-file FILE, or set SPACELINK_TOKEN"
    return " ".join(_in_flags(error).split())


# Fields whose flags have other names.
_FLAG_NAMES = {
    "start_time": "start",
    "end_time": "end",
    "time_unix_nano": "time",
    "availability_target_percent": "target",
    "maintenance_windows": "windows",
    "unknown_time": "unknown",
}


def _in_flags(error: SpaceLinkError) -> str:
    """Give the message with the names of flags for those of fields, which users of commands do not know."""
    context = click.get_current_context(silent=True)
    params = {} if context is None else {param.name or "": param for param in context.command.params}
    message = error.message
    for violation in error.field_violations:
        if flag := _flag(violation.field, params):
            message = message.replace(f"{violation.field}:", f"{flag}:", 1)
    for field in ("start_time", "end_time"):
        if flag := _flag(field, params):
            message = re.sub(rf"\b{field}\b", flag, message)
    return message


def _flag(field: str, params: Mapping[str, click.Parameter]) -> str:
    """Give the flag or argument that a field, such as batch.latency_ms, is from; empty if there is none."""
    for part in re.findall(r"\w+", field):
        param = params.get(_FLAG_NAMES.get(part, part))
        if isinstance(param, click.Option):
            return param.opts[0]
        if param is not None:
            return param.human_readable_name
    batch, _, metric = field.partition(".")
    return f"--metric {metric}" if batch == "batch" and metric and "others" in params else ""


def _cause(message: str) -> str:
    # gRPC's text names its layers first and the cause last.
    cause = message.rpartition(": ")[2]
    if "http1.x server" in message:
        return "it speaks HTTP/1, not gRPC; it may be the REST bridge"
    if "[" not in cause:
        # Of the list of a name server's answers.
        cause = cause.rstrip("]")
    if cause == "Socket closed" and message.startswith("failed to connect"):
        # All there is to see of a server that expects another kind of connection.
        cause += "; it may speak TLS (tls_ca), or ask for a certificate (tls_cert)"
    return cause


def _check_address(ctx: click.Context, param: click.Parameter, value: str) -> str:
    scheme, separator, rest = value.rpartition("://")
    if separator:
        raise click.BadParameter(f"{value!r}: expected HOST:PORT without {scheme}://, {rest!r}", ctx, param)
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise click.BadParameter(f"{value!r}: expected HOST:PORT, such as {param.default}", ctx, param)
    return value
