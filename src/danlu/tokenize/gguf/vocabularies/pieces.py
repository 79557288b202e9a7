"""What llama.cpp's two kinds of SentencePiece vocabularies share."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer as Backend

from ...pieces import BYTE_PIECE, SPACE
from ...readers.sentencepiece_model import open_spm
from ...spm import BYTE, NORMAL, UNKNOWN, Kind, Piece, SpmModel
from . import steps_of

PREPENDED = ({"type": "Prepend", "prepend": SPACE}, {"type": "Prepend", "prepend": " "})
SPACED = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
WORDS = {"type": "Split", "pattern": {"String": SPACE}, "behavior": "MergedWithNext", "invert": False}


def prefixed(description: dict[str, Any]) -> bool:
    """Whether a space is put before a text."""
    steps = steps_of(description["pre_tokenizer"], "pretokenizers")
    meta = any(step["type"] == "Metaspace" and step["prepend_scheme"] != "never" for step in steps)
    return meta or any(step in PREPENDED for step in steps_of(description["normalizer"], "normalizers"))


def spaced(description: dict[str, Any]) -> bool:
    """Whether spaces are written ▁."""
    steps = steps_of(description["pre_tokenizer"], "pretokenizers")
    shapes = steps_of(description["normalizer"], "normalizers")
    return SPACED in shapes or any(step["type"] == "Metaspace" for step in steps)


def known(step: dict[str, Any]) -> bool:
    """Whether a step of cutting text cuts only before spaces, which changes no spelling."""
    return step == WORDS or (step["type"] == "Metaspace" and step["replacement"] == SPACE)


def type_of(text: str, type_: int, unknown: str | None) -> int:
    """Bytes and the unknown piece by what they are."""
    if text == unknown:
        return UNKNOWN
    return BYTE if BYTE_PIECE.match(text) else type_


def opened(said: dict[str, Any], kind: Kind) -> Backend:
    """The engine of a file's pieces."""
    unknown = said.get("unknown_token_id", 0)
    types = list(said.get("token_type", [NORMAL] * len(said["tokens"])))
    types = [UNKNOWN if n == unknown else NORMAL if t == UNKNOWN else t for n, t in enumerate(types)]
    rows = zip(said["tokens"], said["scores"], types, strict=True)
    model = SpmModel(
        pieces=tuple(Piece(text, score, type_) for text, score, type_ in rows),
        kind=kind,
        byte_fallback=types.count(BYTE) == 256,
        charsmap=bytes(n & 255 for n in said.get("precompiled_charsmap", ())),
        dummy_prefix=said.get("add_space_prefix", True),
        trim_spaces=said.get("remove_extra_whitespaces", False),
        bos=-1,
        eos=-1,
    )
    engine, _ = open_spm(model, {"add_bos_token": False, "add_eos_token": False})
    return engine
