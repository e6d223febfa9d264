"""What `spacelink up` gives a visitor: tokens narrowed from the operator's, and accounts to log in with."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import click

from spacelink import AsyncAdminClient, InvalidTokenError, Token

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TENANT = "default"


class Account(NamedTuple):
    """A user whose password everybody knows."""

    name: str
    password: str
    role: str


# Good only because `up` listens on loopback and stores nothing that matters.
ACCOUNTS = (
    Account("enterprise_admin", "admin123", "admin"),
    Account("acme_partner", "partner123", "partner"),
    Account("customer_user", "customer123", "customer"),
)


@dataclass(frozen=True, slots=True)
class TokenFiles:
    """Files that hold a token each.

    Attributes:
        operator: the operator's, which the server made.
        visitor: for the default tenant.
        fleet: writes telemetry of the simulated terminals.
    """

    operator: Path
    visitor: Path
    fleet: Path


def write_tokens(data_dir: Path, device_ids: Sequence[str]) -> TokenFiles:
    """Narrow the operator's token, offline as everybody can.

    Raises:
        click.ClickException: the operator's token is not there (any more).
    """
    files = TokenFiles(*(data_dir / f"{name}.token" for name in ("operator", "visitor", "fleet")))
    try:
        operator = Token.parse(files.operator.read_text(encoding="ascii").strip())
    except OSError as error:
        raise click.ClickException(f"{files.operator}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, InvalidTokenError):
        raise click.ClickException(f"{files.operator}: expected the operator's token") from None
    visitor = operator.attenuate(tenant=TENANT, label="visitor")
    fleet = operator.attenuate(tenant=TENANT, scope="telemetry:write", device=device_ids, label="fleet")
    _write(files.visitor, visitor)
    _write(files.fleet, fleet)
    return files


def _write(path: Path, token: Token) -> None:
    path.unlink(missing_ok=True)
    with open(path, "x", encoding="ascii", opener=_private) as file:
        file.write(f"{token}\n")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


async def create_accounts(admin_address: str, token_file: Path) -> None:
    """Create those of the accounts that are not there yet.

    Raises:
        SpaceLinkError: the server does not serve it.
    """
    async with AsyncAdminClient(admin_address, token_file=token_file) as admin:
        known = {user.user_name async for user in admin.list_users()}
        for account in ACCOUNTS:
            if account.name not in known:
                await admin.create_user(*account)
