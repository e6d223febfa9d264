"""What an installation is given at its first start: a master key, a tenant and an operator's token."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from spacelink._caveats import ANY
from spacelink_server.access.authorization import DEFAULT_TENANT
from spacelink_server.access.keys import KeyRing, load_master_key, write_secret
from spacelink_server.access.minting import Minter, Origin
from spacelink_server.storage import audit, tenants
from spacelink_server.storage.audit import Event
from spacelink_server.storage.tenants import Tenant, TenantKey

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from spacelink_server.storage.transactions import Connection, Transactions

logger = logging.getLogger(__name__)

OPERATOR_TOKEN_FILE = "operator.token"  # noqa: S105 - a name

# The token is written before it is committed and gets its name afterwards: a
# server that dies in between neither loses the only operator's token, nor
# writes one again that somebody has moved to a safer place.
_PENDING_FILE = "operator.token.new"

_ACTOR = "system"


def prepare(store: Transactions, data_dir: Path, environ: Mapping[str, str]) -> KeyRing:
    """Give the keys of an installation; at its first start, found it.

    Founding writes DIR/master.key, unless the environment has the master key,
    and DIR/operator.token, both for the owner only. Blocks.

    Args:
        store: no other thread may write to it yet.
        data_dir: made if need be.
        environ: where SPACELINK_MASTER_KEY may be.

    Raises:
        MasterKeyError: the master key is missing, not readable, or not the one
            that the store was made with.
        OSError: the directory cannot be made.
        StoreUnavailableError: the store failed.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    rows = store.read(tenants.keys)
    keys = KeyRing(load_master_key(data_dir, environ, create=not rows))
    pending = data_dir / _PENDING_FILE
    if not rows:
        store.transact(lambda connection: _found(connection, keys, pending))
        rows = store.read(tenants.keys)
    keys.load(rows)
    if pending.exists():
        path = pending.replace(data_dir / OPERATOR_TOKEN_FILE)
        logger.info("the operator's token is in %s", path)
    return keys


def _found(connection: Connection, keys: KeyRing, pending: Path) -> None:
    """Store what every installation has, and write the operator's token, unless another server just did."""
    if tenants.keys(connection):
        return
    keys.load([_first_key(keys, tenant_id) for tenant_id in (ANY, DEFAULT_TENANT)])
    for tenant_id in (ANY, DEFAULT_TENANT):
        tenants.insert_key(connection, _first_key(keys, tenant_id))
    tenants.insert(connection, Tenant(DEFAULT_TENANT, "", 0, 0, (), time.time_ns()))
    minter = Minter(keys)
    token = minter.mint(connection, ANY, Origin(_ACTOR), ())
    minted = Event(_ACTOR, "token.mint", f"token:{token.token_id}", detail={"caveats": list(token.caveats)})
    audit.append(connection, ANY, minted)
    audit.append(connection, DEFAULT_TENANT, Event(_ACTOR, "tenant.create", f"tenant:{DEFAULT_TENANT}"))
    text = minter.text(token)
    assert text is not None  # noqa: S101 - the keys have just been made
    write_secret(pending, text)


def _first_key(keys: KeyRing, tenant_id: str) -> TenantKey:
    return TenantKey(tenant_id, 1, keys.fingerprint(tenant_id, 1), time.time_ns(), None)
