"""What a vocabulary's pieces stand for: bytes, whatever spelling the vocabulary uses for them."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

SPACE = "▁"  # SentencePiece writes a space as this mark
BYTE_PIECE = re.compile(r"^<0x([0-9A-Fa-f]{2})>$")
CONTINUED = "##"  # WordPiece marks a piece that goes on inside a word


@cache
def byte_alphabet() -> dict[int, str]:
    """GPT-2's spelling of the 256 bytes: printable Latin-1 as itself, the rest as the letters from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in printable]
    return {**{b: chr(b) for b in printable}, **{b: chr(0x100 + n) for n, b in enumerate(rest)}}


@cache
def byte_values() -> dict[str, int]:
    return {character: byte for byte, character in byte_alphabet().items()}


def spell_bytes(raw: bytes) -> str:
    """The byte-level spelling of some bytes: ``b" a"`` is ``"Ġa"``."""
    alphabet = byte_alphabet()
    return "".join(alphabet[byte] for byte in raw)


def byte_piece(byte: int) -> str:
    """SentencePiece's name of a byte: 10 is ``<0x0A>``."""
    return f"<0x{byte:02X}>"


def read_byte_level(piece: str) -> bytes:
    values = byte_values()
    if all(character in values for character in piece):
        return bytes(values[character] for character in piece)
    return piece.encode()


def read_spaced(piece: str) -> bytes:
    if match := BYTE_PIECE.match(piece):
        return bytes([int(match[1], 16)])
    return piece.replace(SPACE, " ").encode()


def read_continued(piece: str) -> bytes:
    return (piece[len(CONTINUED) :] if piece.startswith(CONTINUED) else f" {piece}").encode()


def read_plain(piece: str) -> bytes:
    return piece.encode()


def spelling(description: dict[str, Any]) -> Callable[[str], bytes]:
    """How the vocabulary of a ``tokenizer.json`` spells bytes, read from its decoder."""
    kinds = set(_decoder_types(description.get("decoder")))
    if "ByteLevel" in kinds:
        return read_byte_level
    if kinds & {"Metaspace", "ByteFallback"} or SPACE in str(description.get("decoder")):
        return read_spaced
    if "WordPiece" in kinds:
        return read_continued
    return read_plain


def _decoder_types(decoder: dict[str, Any] | None) -> list[str]:
    if decoder is None:
        return []
    return [decoder["type"], *(kind for inner in decoder.get("decoders", []) for kind in _decoder_types(inner))]
