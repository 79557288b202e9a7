"""SentencePiece's model file: what we keep of it, read and written without the sentencepiece or protobuf library."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..core.errors import DataError
from .pieces import SPACE

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
UNIGRAM, BPE = 1, 2  # trainer_spec.model_type; 3 (word) and 4 (char) are not read
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5  # wire types of protobuf

Kind = Literal["unigram", "bpe"]


@dataclass(frozen=True)
class Piece:
    """One entry of the vocabulary: its text, its score (higher is preferred) and its type."""

    text: str
    score: float
    type: int = NORMAL


@dataclass(frozen=True, kw_only=True)
class SpmModel:
    """A SentencePiece vocabulary and how text is prepared for it; ``charsmap`` is its compiled normalization."""

    pieces: tuple[Piece, ...]
    kind: Kind = "bpe"
    byte_fallback: bool = False
    charsmap: bytes = b""
    dummy_prefix: bool = True
    trim_spaces: bool = True
    escape_spaces: bool = True
    bos: int = 1
    eos: int = 2
    pad: int = -1

    def __post_init__(self) -> None:
        texts = [piece.text for piece in self.pieces]
        if len(set(texts)) != len(texts):
            raise DataError("the SentencePiece model holds a piece twice; it was merged carelessly, merge it anew")
        if sum(piece.type == UNKNOWN for piece in self.pieces) != 1:
            raise DataError("the SentencePiece model does not have exactly one unknown piece; it is damaged")

    @property
    def unknown(self) -> int:
        return next(n for n, piece in enumerate(self.pieces) if piece.type == UNKNOWN)

    def special(self, index: int) -> str | None:
        return self.pieces[index].text if 0 <= index < len(self.pieces) else None

    def with_pieces(self, pieces: tuple[Piece, ...]) -> SpmModel:
        return replace(self, pieces=pieces)

    def spans_words(self) -> bool:
        """Whether a piece reaches over a space, so that text must not be split at spaces first."""
        return any(SPACE in piece.text[1:] for piece in self.pieces if piece.type in (NORMAL, USER_DEFINED))


def read_spm(path: str | Path) -> SpmModel:
    """Raises DataError if the file is no SentencePiece model of type unigram or bpe."""
    try:
        return decode_spm(Path(path).read_bytes())
    except (IndexError, struct.error, UnicodeDecodeError):
        raise DataError("is not a SentencePiece model, or is cut; fetch it again", file=path) from None
    except DataError as error:
        raise DataError(error.sentence, file=path) from None


def decode_spm(raw: bytes) -> SpmModel:
    pieces: list[Piece] = []
    trainer: dict[int, int | bytes] = {}
    normalizer: dict[int, int | bytes] = {}
    for number, value in _fields(raw):
        if number == 1:
            pieces.append(_piece(_blob(value)))
        elif number == 2:
            trainer = dict(_fields(_blob(value)))
        elif number == 3:
            normalizer = dict(_fields(_blob(value)))
    if not pieces:
        raise DataError("is not a SentencePiece model: it holds no pieces; fetch it again")
    kind = _number(trainer, 3, UNIGRAM)
    if kind not in (UNIGRAM, BPE):
        raise DataError("is a word or character model of SentencePiece; only unigram and bpe models are read")
    return SpmModel(
        pieces=tuple(pieces),
        kind="bpe" if kind == BPE else "unigram",
        byte_fallback=bool(_number(trainer, 35, 0)),
        charsmap=_blob(normalizer.get(2, b"")),
        dummy_prefix=bool(_number(normalizer, 3, 1)),
        trim_spaces=bool(_number(normalizer, 4, 1)),
        escape_spaces=bool(_number(normalizer, 5, 1)),
        bos=_number(trainer, 41, 1),
        eos=_number(trainer, 42, 2),
        pad=_number(trainer, 43, -1),
    )


def encode_spm(model: SpmModel) -> bytes:
    """The bytes of a ``.model`` file that SentencePiece itself opens."""
    out = bytearray()
    for piece in model.pieces:
        text = piece.text.encode()
        body = _tag(1, LENGTH) + _varint(len(text)) + text + _tag(2, FIXED32) + struct.pack("<f", piece.score)
        out += _message(1, body + (_tag(3, VARINT) + _varint(piece.type) if piece.type != NORMAL else b""))
    trainer = {3: BPE if model.kind == "bpe" else UNIGRAM, 4: len(model.pieces), 35: int(model.byte_fallback)}
    trainer |= {40: model.unknown, 41: model.bos, 42: model.eos, 43: model.pad}
    out += _message(2, b"".join(_tag(n, VARINT) + _varint(value) for n, value in trainer.items()))
    flags = {3: model.dummy_prefix, 4: model.trim_spaces, 5: model.escape_spaces}
    rules = _message(2, model.charsmap) if model.charsmap else b""
    out += _message(3, rules + b"".join(_tag(n, VARINT) + _varint(int(value)) for n, value in flags.items()))
    return bytes(out)


def _piece(raw: bytes) -> Piece:
    text, score, kind = "", 0.0, NORMAL
    for number, value in _fields(raw):
        if number == 1:
            text = _blob(value).decode()
        elif number == 2:
            (score,) = struct.unpack("<f", _blob(value))
        elif number == 3:
            kind = _whole(value)
    return Piece(text, score, kind)


def _fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(raw):
        tag, at = _read_varint(raw, at)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, at = _read_varint(raw, at)
            yield number, value
            continue
        if wire not in (FIXED64, LENGTH, FIXED32):
            raise IndexError(f"wire type {wire}")
        size, at = _read_varint(raw, at) if wire == LENGTH else (8 if wire == FIXED64 else 4, at)
        if at + size > len(raw):
            raise IndexError("cut")
        yield number, raw[at : at + size]
        at += size


def _read_varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = raw[at]
        at, value, shift = at + 1, value | (byte & 0x7F) << shift, shift + 7
        if byte < 0x80:
            return value, at
    raise IndexError("varint")


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # negative numbers are written as 64-bit two's complement
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _tag(number: int, wire: int) -> bytes:
    return _varint(number << 3 | wire)


def _message(number: int, body: bytes) -> bytes:
    return _tag(number, LENGTH) + _varint(len(body)) + body


def _blob(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise IndexError("a number where bytes belong")
    return value


def _whole(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise IndexError("bytes where a number belongs")
    return value - (1 << 64) if value >= 1 << 63 else value


def _number(fields: dict[int, int | bytes], number: int, default: int) -> int:
    return _whole(fields.get(number, default))
