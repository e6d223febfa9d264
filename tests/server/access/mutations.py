"""Tokens that somebody has tampered with."""

from __future__ import annotations

import base64
import random
from typing import TYPE_CHECKING

from spacelink.errors import InvalidTokenError
from spacelink.token import PREFIX, Token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from spacelink.macaroon import Macaroon

Data = bytearray
Sections = list[bytes]


def mutants(texts: list[str], count: int, seed: int) -> Iterator[str]:
    """Give so many texts, each made from one or two of the tokens and none of them one of these."""
    chance = random.Random(seed)
    originals = {_signed_part(text) for text in texts}
    made = 0
    while made < count:
        mutant = chance.choice((_of_text, _of_data, _of_data, _of_sections))(chance, texts)
        if _signed_part(mutant) not in originals:
            made += 1
            yield mutant


def macaroon_text(sections: Sections, signature: bytes) -> str:
    """Write a token's text, whatever it is made of."""
    body = b"".join(_field(2, section) + b"\0" for section in sections)
    return token_text(b"\x02" + body + b"\0" + _field(6, signature))


def token_text(data: bytes) -> str:
    """Write data as a token's text."""
    return PREFIX + base64.urlsafe_b64encode(data).decode().rstrip("=")


def _signed_part(text: str) -> Macaroon | None:
    """Read a token without its location, which is empty or missing and which nothing signs."""
    try:
        macaroon = Token.parse(text).macaroon
    except InvalidTokenError:
        return None
    return None if macaroon.location else macaroon


def _of_text(chance: random.Random, texts: list[str]) -> str:
    text = chance.choice(texts)
    at = chance.randrange(len(text))
    character = chr(chance.choice((*range(0x20, 0x7F), 0, 10, 0xE9, 0x1F6F0)))
    return chance.choice(
        (
            text[:at] + character + text[at + 1 :],
            text[:at] + character + text[at:],
            text[:at] + text[at + 1 :],
            text[:at],
            text[at:],
            text.swapcase(),
            f"{text}=",
            f" {text}",
            f"{text}\n",
            text + chance.choice(texts),
            text.removeprefix(PREFIX),
            text.replace("-", "+").replace("_", "/") + "+",
        )
    )


def _of_data(chance: random.Random, texts: list[str]) -> str:
    data = bytearray(Token.parse(chance.choice(texts)).data)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        chance.choice((_flip, _replace, _insert, _delete, _truncate, _repeat, _swap))(chance, data)
    if chance.random() < 0.1:
        data[chance.randrange(len(data) + 1) :] = Token.parse(chance.choice(texts)).data[10:]
    return token_text(bytes(data))


def _flip(chance: random.Random, data: Data) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _replace(chance: random.Random, data: Data) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.randrange(256)


def _insert(chance: random.Random, data: Data) -> None:
    data.insert(chance.randrange(len(data) + 1), chance.choice((0, 1, 2, 4, 6, 32, chance.randrange(256))))


def _delete(chance: random.Random, data: Data) -> None:
    if data:
        del data[chance.randrange(len(data))]


def _truncate(chance: random.Random, data: Data) -> None:
    del data[chance.randrange(len(data) + 1) :]


def _repeat(chance: random.Random, data: Data) -> None:
    start = chance.randrange(len(data) + 1)
    stop = min(start + chance.randrange(1, 60), len(data))
    data[start:start] = data[start:stop]


def _swap(chance: random.Random, data: Data) -> None:
    if len(data) > 1:
        a, b = chance.sample(range(len(data)), 2)
        data[a], data[b] = data[b], data[a]


def _of_sections(chance: random.Random, texts: list[str]) -> str:
    """Change identifier, caveats or signature, and write a macaroon that is well formed."""
    macaroon = Token.parse(chance.choice(texts)).macaroon
    sections = [macaroon.identifier, *macaroon.caveats]
    signature = macaroon.signature
    kind = chance.randrange(len(_CHANGES) + 2)
    if kind < len(_CHANGES):
        _CHANGES[kind](chance, sections)
    elif kind == len(_CHANGES):
        signature = chance.randbytes(chance.choice((31, 32, 32, 33)))
    else:
        signature = Token.parse(chance.choice(texts)).macaroon.signature
    return macaroon_text(sections, signature)


def _add_section(chance: random.Random, sections: Sections) -> None:
    caveat = chance.choice((b"scope = *:*", b"label = a", b"tenant = acme", b"\x00\x02\x01x\x00\x00\x06\x20"))
    sections.insert(chance.randrange(len(sections) + 1), caveat)


def _drop_section(chance: random.Random, sections: Sections) -> None:
    del sections[chance.randrange(len(sections))]


def _swap_sections(chance: random.Random, sections: Sections) -> None:
    a, b = chance.sample(range(len(sections)), 2)
    sections[a], sections[b] = sections[b], sections[a]


def _join_sections(chance: random.Random, sections: Sections) -> None:
    at = chance.randrange(len(sections) - 1)
    sections[at : at + 2] = [sections[at] + sections[at + 1]]


def _split_section(chance: random.Random, sections: Sections) -> None:
    at = chance.randrange(len(sections))
    cut = chance.randrange(1, len(sections[at]))
    sections[at : at + 1] = [sections[at][:cut], sections[at][cut:]]


def _repeat_section(chance: random.Random, sections: Sections) -> None:
    at = chance.randrange(len(sections))
    sections.insert(at, sections[at])


def _edit_section(chance: random.Random, sections: Sections) -> None:
    at = chance.randrange(len(sections))
    data = bytearray(sections[at])
    chance.choice((_flip, _replace, _insert, _delete))(chance, data)
    sections[at] = bytes(data)


def _field(kind: int, data: bytes) -> bytes:
    size = len(data)
    length = bytes((size,)) if size < 0x80 else bytes((size & 0x7F | 0x80, size >> 7))
    return bytes((kind,)) + length + data


_CHANGES: tuple[Callable[[random.Random, Sections], None], ...] = (
    _add_section,
    _drop_section,
    _swap_sections,
    _join_sections,
    _split_section,
    _repeat_section,
    _edit_section,
)
