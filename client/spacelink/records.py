"""What the server tells of sessions, keys, tokens, tenants, users and of what was done.

Times are datetimes in UTC, or None where there is none. What gives its holder
rights is not in repr().
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from spacelink.token import Token


@dataclass(frozen=True, slots=True)
class Session:
    """A user's session.

    Attributes:
        token: the session's token.
        expire_time: when it ends.
        role: the user's: "admin", "partner", "customer" or "read_only".
    """

    token: Token
    expire_time: datetime
    role: str


@dataclass(frozen=True, slots=True)
class SessionLimit:
    """A rate limit or a quota of the caller's credential.

    Attributes:
        caveat: such as "quota = 10000/day".
        remaining: units left in the current window.
        reset_time: when the next window starts.
    """

    caveat: str
    remaining: int
    reset_time: datetime | None


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """Who the caller is.

    Attributes:
        tenant_id: the tenant that the call was about.
        token_id: shared by the token and all of its descendants.
        role: the user's; empty for a token that was minted.
        scopes: what the credential is good for.
        expire_time: when it ends.
        labels: its holders, from the first to the last.
        limits: where its limits stand.
    """

    tenant_id: str
    token_id: str
    role: str
    scopes: tuple[str, ...]
    expire_time: datetime | None
    labels: tuple[str, ...]
    limits: tuple[SessionLimit, ...]


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What the server keeps of an API key.

    Attributes:
        key_id: names the key.
        display_name: for people.
        caveats: of the token that it stands for.
        create_time: when it was made.
        expire_time: when it ends.
        last_use_time: when it was last presented, to the minute.
        revoked: whether it was revoked.
    """

    key_id: str
    display_name: str
    caveats: tuple[str, ...]
    create_time: datetime | None
    expire_time: datetime | None
    last_use_time: datetime | None
    revoked: bool


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """An API key that was just made.

    Attributes:
        secret: the key itself, which the server cannot show again.
        api_key: what the server keeps of it.
    """

    secret: str = field(repr=False)
    api_key: ApiKey


@dataclass(frozen=True, slots=True)
class TokenInspection:
    """What a server knows of a token.

    Attributes:
        authentic: whether its signature is right.
        banned: whether it or an ancestor of it is banned.
        tenant_id: the tenant that issued it.
        token_id: shared by the token and all of its descendants.
        key_version: the version of the tenant's key that signed it.
        caveats: in their order.
        expire_time: the earliest of all expiries.
        digests: SHA-256 of each prefix signature in hex, from the bare token to
            this one; none where the token is not authentic.
    """

    authentic: bool
    banned: bool
    tenant_id: str
    token_id: str
    key_version: int
    caveats: tuple[str, ...]
    expire_time: datetime | None
    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MintedToken:
    """What the server keeps of a token that was minted.

    Attributes:
        token_id: shared by the token and all of its descendants.
        caveats: those it was minted with.
        mint_time: when it was minted.
        minter: the token that minted it, or "user:NAME".
        banned: whether it is banned.
    """

    token_id: str
    caveats: tuple[str, ...]
    mint_time: datetime | None
    minter: str
    banned: bool


@dataclass(frozen=True, slots=True)
class Ban:
    """A ban in force; one of digest, token_id and minted_before says what it bans.

    Attributes:
        ban_id: names the ban.
        tenant_id: the tenant whose tokens it ends.
        digest: SHA-256 of a signature in hex; empty otherwise.
        token_id: the id of a minted token; empty otherwise.
        minted_before: everything minted before.
        reason: why.
        create_time: when it was made.
        actor: who made it.
    """

    ban_id: str
    tenant_id: str
    digest: str
    token_id: str
    minted_before: datetime | None
    reason: str
    create_time: datetime | None
    actor: str


@dataclass(frozen=True, slots=True)
class TokenNode:
    """A token that was presented, or a prefix of one.

    Attributes:
        digest: SHA-256 of its signature in hex.
        parent_digest: its parent's; empty for a minted token. The parent of what
            was narrowed to a tenant is the operator's, and not among the tenant's.
        token_id: shared by a token and all of its descendants.
        caveat: the one that was added last; empty for the bare token.
        use_count: how many calls presented just this token.
        first_use_time: when it was first presented.
        last_use_time: when it was last presented.
        banned: whether it is banned, itself or with an ancestor.
    """

    digest: str
    parent_digest: str
    token_id: str
    caveat: str
    use_count: int
    first_use_time: datetime | None
    last_use_time: datetime | None
    banned: bool


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """An event of a tenant's audit chain.

    Attributes:
        sequence: its place in the chain, from 1.
        event_time: when it happened.
        actor: who did it.
        action: what was done, such as "token.mint".
        resource: what it was done to.
        outcome: "ok", or why it was refused.
        detail: further facts.
        previous_hash: the event_hash of the event before.
        event_hash: its own.
    """

    sequence: int
    event_time: datetime | None
    actor: str
    action: str
    resource: str
    outcome: str
    detail: Mapping[str, Any]
    previous_hash: str
    event_hash: str


@dataclass(frozen=True, slots=True)
class Tenant:
    """A customer whose data nobody else sees.

    Attributes:
        tenant_id: names the tenant.
        display_name: for people.
        samples_per_day: what it may store in a day (UTC); 0 means no limit.
        max_devices: the most devices it may have; 0 means no limit.
        domains: those of its people.
        create_time: when it was created.
        key_version: the version of the key that signs its new tokens.
        raw_retention_days: how long its samples are kept; 0 means for ever.
        rollup_retention_days: how long its rollups are kept; 0 means for ever.
    """

    tenant_id: str
    display_name: str
    samples_per_day: int
    max_devices: int
    domains: tuple[str, ...]
    create_time: datetime | None
    key_version: int
    raw_retention_days: int
    rollup_retention_days: int


@dataclass(frozen=True, slots=True)
class KeyRotation:
    """A tenant's new key.

    Attributes:
        key_version: its version.
        old_key_expire_time: until when tokens of the old key are good.
    """

    key_version: int
    old_key_expire_time: datetime | None


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who logs in.

    Attributes:
        tenant_id: the user's tenant.
        user_name: unique in the tenant.
        role: "admin", "partner", "customer" or "read_only".
        disabled: whether the user may not log in.
        create_time: when the user was created.
    """

    tenant_id: str
    user_name: str
    role: str
    disabled: bool
    create_time: datetime | None
