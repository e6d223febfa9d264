"""Secrets that the tests saw issued, and the logs that must hold none of them."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING

from spacelink.errors import InvalidTokenError
from spacelink.token import PREFIX, Token
from spacelink_server.access.first_start import OPERATOR_TOKEN_FILE
from spacelink_server.access.keys import MASTER_KEY_FILE, KeyRing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

# Whatever looks like a token or an API key, also one that no test told of.
_CREDENTIAL = re.compile(r"slk_[A-Za-z0-9_-]{20,}|slak_[^ ]{1,64}\.[0-9a-f]{32}\.[A-Za-z0-9_-]{20,}")
# What secrets can be a part of when they are written in hex or in base64. Most
# words of a log come again and again, so it is searched by its distinct ones.
_WORD = re.compile(r"[A-Za-z0-9_+/=-]{16,}")


class Watch:
    """Gathers secrets and logs, and searches these for those."""

    def __init__(self) -> None:
        self._texts: set[str] = set()
        self._tokens: set[str] = set()
        self._logs: set[Path] = set()
        self._data_dirs: set[Path] = set()

    def text(self, text: str) -> str:
        """Have a password or an API key looked for; gives it back."""
        self._texts.add(text)
        return text

    def token(self, text: str) -> str:
        """Have a token looked for, and each signature of its chain; gives it back."""
        self._tokens.add(text)
        return text

    def log(self, path: Path) -> None:
        """Have a log searched."""
        self._logs.add(path)

    def data_dir(self, path: Path) -> None:
        """Have the secrets looked for that a server keeps in its data directory."""
        self._data_dirs.add(path)

    def leaks(self) -> list[str]:
        """Search all logs, and say where which kind of secret is."""
        forms = self._forms()
        return [
            f"{path}: {kind}" for path in sorted(self._logs) if path.exists() for kind in _search(path, forms)
        ]

    def _forms(self) -> dict[str, str]:
        """Give each way to write a secret, and what it is."""
        forms = {form: "password or API key" for text in self._texts for form in _forms_of_text(text)}
        masters = [bytes.fromhex(text) for text in self._kept(MASTER_KEY_FILE)]
        forms |= {form: "master key" for master in masters for form in _forms_of_bytes(master)}
        tokens = [*self._tokens, *self._kept(OPERATOR_TOKEN_FILE)]
        forms |= {form: "token" for text in tokens for form in _forms_of_token(text)}
        signatures = {signature for text in tokens for signature in _signatures(text, masters)}
        return forms | {form: "signature" for each in signatures for form in _forms_of_bytes(each)}

    def _kept(self, name: str) -> Iterator[str]:
        for directory in self._data_dirs:
            path = directory / name
            if path.exists():
                yield path.read_text().strip()


def _search(path: Path, forms: dict[str, str]) -> Iterator[str]:
    log = path.read_text(errors="replace")
    if _CREDENTIAL.search(log):
        yield "what looks like a token or an API key"
    words = "\n".join(set(_WORD.findall(log))).lower()
    for form, kind in forms.items():
        # Blanks and the like are in no word.
        if form.lower() in (words if _WORD.fullmatch(form) else log.lower()):
            yield kind


def _forms_of_text(text: str) -> Iterable[str]:
    return (text, *_forms_of_bytes(text.encode()))


def _forms_of_token(text: str) -> Iterable[str]:
    try:
        data = Token.parse(text).data
    except InvalidTokenError:
        # A forgery: as long as it may have parts of a token, it belongs into no log.
        return (text,) if len(text) > len(PREFIX) + 16 else ()
    return (text, *_forms_of_bytes(data))


def _forms_of_bytes(data: bytes) -> Iterable[str]:
    """Write bytes in hex, in both kinds of base64 and as Python does; padding may be cut off."""
    plain = binascii.b2a_base64(data, newline=False).decode().rstrip("=")
    return (data.hex(), plain, base64.urlsafe_b64encode(data).decode().rstrip("="), repr(data)[2:-1])


def _signatures(text: str, masters: Iterable[bytes]) -> Iterable[bytes]:
    """Give all signatures of a token's chain, if it was made from one of the master keys."""
    try:
        token = Token.parse(text)
    except InvalidTokenError:
        return ()
    name = token.identifier.tenant, token.identifier.key_version
    for master in masters:
        try:
            return token.macaroon.verify(KeyRing(master)._derive("tenant-key", *name))
        except InvalidTokenError:
            continue
    return (token.macaroon.signature,)


# Of the whole run: conftest.py searches at its end.
WATCH = Watch()
