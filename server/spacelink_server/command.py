"""The `spacelink server` command."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from spacelink._listeners import Address, ConfigError, parse_networks
from spacelink.cli._moments import DurationParam
from spacelink.cli.settings import config_file, setting
from spacelink_server.config import ServerConfig, Tls
from spacelink_server.logs import LogSettings, start_logging
from spacelink_server.maintenance.maintenance import Schedule
from spacelink_server.running import FAILURES, run
from spacelink_server.workers import supervise

# More than any machine has use for: each takes a hundred megabytes, and ten
# connections to the database.
_MAX_WORKERS = 64

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@config_file()
@setting(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("spacelink-data"),
    show_default=True,
    help="Directory of the keys and of the embedded store; made if need be.",
)
@setting(
    "--database",
    default="",
    metavar="URL",
    help="PostgreSQL database instead of the embedded store: postgresql://USER:PASSWORD@HOST/DATABASE.",
)
@setting(
    "--workers",
    type=click.IntRange(min=1, max=_MAX_WORKERS),
    default=1,
    show_default=True,
    help="Processes that serve the same addresses; several need --database.",
)
@setting("--listen", default="127.0.0.1:50051", show_default=True, metavar="HOST:PORT", help="Data plane.")
@setting(
    "--admin-listen", default="127.0.0.1:50052", show_default=True, metavar="HOST:PORT", help="Admin plane."
)
@setting(
    "--metrics-listen",
    metavar="HOST:PORT",
    help="Metrics for Prometheus, to anybody who can reach them; each further worker takes the next port.",
)
@setting(
    "--otlp-endpoint",
    default="",
    metavar="URL",
    help="OpenTelemetry collector that traces go to by OTLP over HTTP, such as http://127.0.0.1:4318.",
)
@setting("--tls-cert", type=_FILE, help="Certificate chain (PEM); all listeners then speak TLS only.")
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
    "--trusted-proxy",
    multiple=True,
    metavar="CIDR",
    help="Network of proxies whose x-forwarded-for is believed; may be repeated.",
)
@setting(
    "--reflection/--no-reflection",
    default=True,
    show_default=True,
    help="Let callers ask for the contracts without a credential.",
)
@setting(
    "--webhook-allow-private",
    is_flag=True,
    help="Let webhooks lead to addresses that are not public, and do without TLS: for trying them out.",
)
@setting(
    "--maintenance-interval",
    type=DurationParam(),
    default="1m",
    show_default=True,
    metavar="DURATION",
    help="Time between two passes of compaction and rollups, such as 30s or 5m.",
)
@setting(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="How much is logged to standard error.",
)
@setting(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Whether for people, or a JSON object on each line.",
)
def server(  # noqa: PLR0913 - one for each setting
    *,
    data_dir: Path,
    database: str,
    workers: int,
    listen: str,
    admin_listen: str,
    metrics_listen: str | None,
    otlp_endpoint: str,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    insecure: bool,
    trusted_proxy: tuple[str, ...],
    reflection: bool,
    webhook_allow_private: bool,
    maintenance_interval: int,
    log_level: str,
    log_format: str,
) -> None:
    """Run the gRPC server.

    Prints a line `ready data=HOST:PORT admin=HOST:PORT` once it accepts calls.
    SIGTERM drains it: producers are told, what is queued is committed and acked.

    \b
    Examples:
      spacelink server --data-dir /var/lib/spacelink
      spacelink server --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0
      spacelink server --listen 0.0.0.0:50051 --tls-cert server.pem --tls-key server.key
      spacelink server --database postgresql://spacelink@db.example.com/spacelink --workers 4
    """
    logs = LogSettings(log_level, log_format)
    start_logging(logs)
    try:
        config = ServerConfig(
            data_dir,
            Address.parse("listen", listen),
            Address.parse("admin_listen", admin_listen),
            Tls.from_files(tls_cert, tls_key, tls_client_ca),
            insecure,
            reflection,
            parse_networks("trusted_proxy", trusted_proxy),
            database=database,
            workers=workers,
            webhook_allow_private=webhook_allow_private,
            maintenance=Schedule(maintenance_interval),
            metrics_listen=Address.parse("metrics_listen", metrics_listen) if metrics_listen else None,
            otlp_endpoint=otlp_endpoint,
        )
    except ConfigError as error:
        raise click.UsageError(str(error)) from None
    try:
        if workers > 1:
            supervise(config, logs, _print_ready)
        else:
            run(config, _print_ready)
    except FAILURES as error:
        raise click.ClickException(str(error)) from None


def _print_ready(data: Address, admin: Address) -> None:
    click.echo(f"ready data={data} admin={admin}")
    sys.stdout.flush()
