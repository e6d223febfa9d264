"""The `spacelink rest` command."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Any

import click

from spacelink._channel import DEFAULT_ADMIN_TARGET, DEFAULT_TARGET, Security
from spacelink._listeners import Address, parse_networks
from spacelink.cli._connection import server_setting
from spacelink.cli.settings import config_file, setting
from spacelink_rest.config import RestConfig, Tls
from spacelink_rest.serving import ListenError, serve

_FILE = click.Path(dir_okay=False, path_type=Path)

# Some ten thousand samples; in gRPC they take a tenth of it.
_MAX_BODY_BYTES = 8 * 1024 * 1024


@click.command()
@config_file()
@server_setting("--server", default=DEFAULT_TARGET, help="The server.")
@server_setting("--admin-server", default=DEFAULT_ADMIN_TARGET, help="Its admin plane.")
@setting("--server-tls-ca", type=_FILE, help="Authorities of the server's certificate (PEM).")
@setting("--server-tls-cert", type=_FILE, help="Own certificate (PEM), for servers that ask for one.")
@setting("--server-tls-key", type=_FILE, help="Its private key (PEM).")
@setting("--server-insecure", is_flag=True, help="Speak plain text with the server wherever it is.")
@setting("--listen", default="127.0.0.1:8000", show_default=True, metavar="HOST:PORT", help="Data routes.")
@setting(
    "--admin-listen", default="127.0.0.1:9090", show_default=True, metavar="HOST:PORT", help="Admin routes."
)
@setting("--tls-cert", type=_FILE, help="Certificate chain (PEM); both listeners then speak TLS only.")
@setting("--tls-key", type=_FILE, help="Its private key (PEM).")
@setting(
    "--tls-client-ca",
    type=_FILE,
    help="Authorities (PEM); callers must then show a certificate from one of them.",
)
@setting(
    "--insecure", is_flag=True, help="Listen without TLS on addresses that other machines can reach, too."
)
@setting(
    "--cors-origin",
    multiple=True,
    metavar="ORIGIN",
    help="Origin whose pages may call the data routes, such as https://example.org; may be repeated.",
)
@setting(
    "--trusted-proxy",
    multiple=True,
    metavar="CIDR",
    help="Network of proxies whose X-Forwarded-For is believed; may be repeated.",
)
@setting(
    "--max-body-bytes",
    type=click.IntRange(1),
    default=_MAX_BODY_BYTES,
    show_default=True,
    help="The most bytes that the body of a request may have.",
)
@setting(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="How much is logged to standard error.",
)
def rest(log_level: str, **settings: Any) -> None:
    """Run the REST bridge: HTTP and JSON in front of a server.

    It passes each caller's credential and address on and has no power of its own.
    The server believes the address only from a --trusted-proxy, which the bridge
    must be. Prints a line `ready data=HOST:PORT admin=HOST:PORT` once it accepts
    requests; the interface is described at /docs and /openapi.json.

    \b
    Examples:
      spacelink rest
      spacelink rest --server 10.0.0.5:50051 --server-tls-ca ca.pem --listen 127.0.0.1:8080
      spacelink rest --listen 0.0.0.0:8000 --tls-cert rest.pem --tls-key rest.key
    """
    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # It tells of each connection and each state of its own.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    try:
        config = _config(**settings)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    try:
        asyncio.run(serve(config, _print_ready))
    except ListenError as error:
        raise click.ClickException(str(error)) from None


def _config(**settings: Any) -> RestConfig:
    take = settings.pop
    return RestConfig(
        security=Security.from_files(
            tls_ca=take("server_tls_ca"),
            tls_cert=take("server_tls_cert"),
            tls_key=take("server_tls_key"),
            insecure=take("server_insecure"),
        ),
        listen=Address.parse("listen", take("listen")),
        admin_listen=Address.parse("admin_listen", take("admin_listen")),
        tls=Tls.from_files(take("tls_cert"), take("tls_key"), take("tls_client_ca")),
        cors_origins=take("cors_origin"),
        trusted_proxies=parse_networks("trusted_proxy", take("trusted_proxy")),
        **settings,
    )


def _print_ready(data: Address, admin: Address) -> None:
    click.echo(f"ready data={data} admin={admin}")
    sys.stdout.flush()
