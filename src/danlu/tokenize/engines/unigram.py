"""Unigram by sentencepiece: the same best spelling, eight times as fast."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer as Backend
from tokenizers import normalizers

from ..pieces import BYTE_PIECE, SPACE
from ..spm import BYTE, CONTROL, NORMAL, UNKNOWN, Piece, SpmModel, encode_spm
from . import ENGINES, Engine
from .reference import Reference

GRID = 1024  # scores that are whole multiples of 1/GRID add up exactly in single precision …
EXACT = (1 << 24) / GRID  # … as long as a sum stays under this
SPACES = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
WORDS = {"type": "Split", "pattern": {"String": SPACE}, "behavior": "MergedWithNext", "invert": False}


@ENGINES.add("sentencepiece")
class Sentencepiece(Engine):
    """Finds the best spelling under a unigram model with sentencepiece, which adds scores in single precision.

    The sums are exact, and so the choice is the reference's, ties included, because every score is a multiple of 2⁻¹⁰
    and text is given in stretches so short that no sum leaves the exact range.  Stretches end before a space or around
    a line end, which no piece crosses; texts that cannot be cut so, or hold added tokens, go to the reference.
    Source: https://github.com/google/sentencepiece
    Truth:  tests/parity/test_tokenizers_engines.py; tests/properties/test_tokenizer_engines.py (ids of tokenizers).
    """

    speed = 16.0

    def __init__(self, plain: Backend, description: dict[str, Any], processor: Any) -> None:
        self._reference, self._processor = Reference(plain), processor
        first = _steps(description["normalizer"], "normalizers")[:-1]  # the last writes spaces as ▁
        self._shaping = _normalizer(first) if first else None
        spoken = [piece.score for piece in _model(description).pieces if piece.type == NORMAL]
        self._longest = int(EXACT / (10.0 - min(spoken))) - 1
        self._stretch = re.compile(rf"[^\n]{{1,{self._longest}}}(?=[{SPACE}\n]|\Z)|\n")
        added = [t["content"] for t in description["added_tokens"] if not t["special"] and t["content"]]
        self._slow = re.compile("|".join(["[\0\ud800-\udfff]", *map(re.escape, added)]))

    @classmethod
    def refuses(cls, description: dict[str, Any]) -> str | None:
        model = description["model"]
        if model.get("type") != "Unigram" or not model.get("byte_fallback"):
            return "only unigram models with byte fallback are served"
        if _steps(description["pre_tokenizer"], "pretokenizers") != [WORDS]:
            return "text is not cut before spaces alone"
        if SPACES not in _steps(description["normalizer"], "normalizers")[-1:]:
            return "spaces are not written as SentencePiece writes them"
        if any((score * GRID) % 1 for _, score in model["vocab"]):
            return "scores do not lie on the grid on which sums are exact"
        if any(SPACE in text[1:] or "\n" in text for text, _ in model["vocab"]):
            return "a piece crosses a space or a line end"
        if any(t["normalized"] and not t["special"] for t in description["added_tokens"]):
            return "added tokens are looked for in normalized text"
        installed = importlib.util.find_spec("sentencepiece")
        return None if installed else "sentencepiece is not installed (extra 'sentencepiece')"

    @classmethod
    def build(cls, plain: Backend, description: dict[str, Any]) -> Engine:
        import sentencepiece

        processor = sentencepiece.SentencePieceProcessor()  # pyright: ignore[reportAttributeAccessIssue]
        processor.LoadFromSerializedProto(encode_spm(_model(description)))
        return cls(plain, description, processor)

    def encode(self, text: str) -> list[int]:
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """All stretches of all texts in one call."""
        cuts = [self._cut(text) for text in texts]
        given = [stretch for cut in cuts if cut is not None for stretch in cut]
        found = iter(self._processor.encode(given, num_threads=1) if given else [])
        return [
            self._reference.encode(text) if cut is None else [token for _ in cut for token in next(found)]
            for text, cut in zip(texts, cuts, strict=True)
        ]

    def _cut(self, text: str) -> list[str] | None:
        """The stretches of a text as the vocabulary spells it; None for the reference."""
        if self._slow.search(text):
            return None
        shaped = text if self._shaping is None else self._shaping.normalize_str(text)
        shaped = shaped.replace(" ", SPACE)
        if len(shaped) <= self._longest and "\n" not in shaped:
            return [shaped] if shaped else []
        stretches = self._stretch.findall(shaped)
        return stretches if sum(map(len, stretches)) == len(shaped) else None


def _model(description: dict[str, Any]) -> SpmModel:
    """The SentencePiece model of a ``tokenizer.json``: what text can become, and what only stands for itself."""
    special = {token["content"] for token in description["added_tokens"] if token["special"]}
    model = description["model"]
    kinds = [
        UNKNOWN if n == model["unk_id"] else CONTROL if text in special else BYTE if BYTE_PIECE.match(text) else NORMAL
        for n, (text, _) in enumerate(model["vocab"])
    ]
    pieces = tuple(Piece(text, score, kind) for (text, score), kind in zip(model["vocab"], kinds, strict=True))
    return SpmModel(pieces=pieces, kind="unigram", byte_fallback=True, dummy_prefix=False, trim_spaces=False)


def _normalizer(steps: list[dict[str, Any]]) -> normalizers.Normalizer:
    """The steps as the library's own object, taken from an engine that holds nothing else."""
    empty = {"type": "BPE", "vocab": {}, "merges": []}
    content = {"version": "1.0", "added_tokens": [], "model": empty, "decoder": None, "post_processor": None}
    sequence = {"type": "Sequence", "normalizers": steps}
    return Backend.from_str(json.dumps({**content, "pre_tokenizer": None, "normalizer": sequence})).normalizer


def _steps(step: dict[str, Any] | None, name: str) -> list[dict[str, Any]]:
    """The steps of a sequence, flat."""
    if step is None:
        return []
    return [deep for inner in step[name] for deep in _steps(inner, name)] if name in step else [step]
