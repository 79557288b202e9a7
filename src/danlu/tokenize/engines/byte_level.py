"""Byte-level BPE by tiktoken: the same merges, an order of magnitude faster on one core."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from tokenizers import Tokenizer as Backend
from tokenizers import normalizers

from ..patterns import GPT2
from ..pieces import byte_alphabet, read_byte_level
from . import ENGINES, Engine
from .reference import Reference

# Case folding of these differs between regex libraries; texts that hold them, or half a surrogate, go the slow way.
FOLDED = "\u017f\u212a"
RARE = re.compile(f"[{FOLDED}\ud800-\udfff]")


@ENGINES.add("tiktoken")
class Tiktoken(Engine):
    """Encodes byte-level BPE with tiktoken, which joins the adjacent pair whose joint bytes have the lowest rank.

    rank(piece) = place of its merge.  Equal to merging by pairs if each piece comes of exactly one merge and its own
    bytes lead to it: then within the bytes of a piece no other pair with that result is ever adjacent. ``refuses``
    checks the form, ``build`` the pieces.  Texts with added tokens go to the reference.
    Source: https://github.com/openai/tiktoken
    Truth:  tests/parity/test_tokenizers_engines.py; tests/properties/test_tokenizer_engines.py (ids of tokenizers).
    """

    speed = 16.8

    def __init__(self, plain: Backend, description: dict[str, Any], encoding: Any, ids: list[int] | None) -> None:
        """ids: the id of each rank, None where ranks are ids."""
        self._reference, self._encoding, self._ids = Reference(plain), encoding, ids
        self._normalizer: normalizers.Normalizer | None = plain.normalizer
        added = [t["content"] for t in description["added_tokens"] if not t["special"] and t["content"]]
        self._added = re.compile("|".join(map(re.escape, added))) if added else None

    @classmethod
    def refuses(cls, description: dict[str, Any]) -> str | None:
        model = description["model"]
        plain_bpe = {"dropout": (None, 0.0), "continuing_subword_prefix": (None, ""), "end_of_word_suffix": (None, "")}
        if model.get("type") != "BPE" or any(model.get(key) not in empty for key, empty in plain_bpe.items()):
            return "only plain BPE is served"
        if word_pattern(description) is None:
            return "text is not cut by one regular expression into byte-level words"
        if missing := set(byte_alphabet().values()) - set(model["vocab"]):
            return f"{len(missing)} bytes are no pieces"
        if not _one_merge_each(description):
            return "a piece comes of several merges, or of none"
        if any(t["normalized"] and not t["special"] for t in description["added_tokens"]) and description["normalizer"]:
            return "added tokens are looked for in normalized text"
        return None if importlib.util.find_spec("tiktoken") else "tiktoken is not installed (extra 'tiktoken')"

    @classmethod
    def build(cls, plain: Backend, description: dict[str, Any]) -> Engine:
        import tiktoken

        if not _all_reached(plain, description):
            return Reference(plain)
        ids = _ids(description)
        joined = [read_byte_level(left + right) for left, right in _merges(description)]
        ranks = dict(zip([*(bytes([byte]) for byte in byte_alphabet()), *joined], _ranks(ids), strict=True))
        pattern = word_pattern(description)
        assert pattern is not None
        encoding = tiktoken.Encoding("danlu", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
        return cls(plain, description, encoding, None if _ranks(ids) == ids else ids)

    def encode(self, text: str) -> list[int]:
        if (self._added and self._added.search(text)) or not (text.isascii() or RARE.search(text) is None):
            return self._reference.encode(text)
        if self._normalizer is not None:
            text = self._normalizer.normalize_str(text)
        ids = self._encoding.encode_ordinary(text)
        return ids if self._ids is None else [self._ids[rank] for rank in ids]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]


def word_pattern(description: dict[str, Any]) -> str | None:
    """The regular expression that cuts text into words, if the cutting is byte-level by one expression."""
    steps = description["pre_tokenizer"] or {}
    listed = steps.get("pretokenizers", [steps])
    *before, last = listed
    if last.get("type") != "ByteLevel" or last.get("add_prefix_space"):
        return None
    if last.get("use_regex", True):
        return GPT2 if not before else None
    if len(before) != 1 or before[0].get("type") != "Split":
        return None
    split = before[0]
    whole = split["behavior"] == "Isolated" and not split["invert"]
    return split["pattern"].get("Regex") if whole else None


def _ids(description: dict[str, Any]) -> list[int]:
    """The ids of the bytes and of the merges' results, in the order in which they are joined."""
    vocab = description["model"]["vocab"]
    joined = (vocab[left + right] for left, right in _merges(description))
    return [*(vocab[letter] for letter in byte_alphabet().values()), *joined]


def _ranks(ids: list[int]) -> list[int]:
    """The ids themselves where those of the merges grow (those of bytes are never compared), else places."""
    merged = ids[256:]
    return ids if all(a < b for a, b in pairwise(merged)) else list(range(len(ids)))


def _merges(description: dict[str, Any]) -> list[tuple[str, str]]:
    return [(left, right) for left, right in description["model"]["merges"]]


def _one_merge_each(description: dict[str, Any]) -> bool:
    """Every piece that is no byte and no special token is the result of exactly one merge."""
    results = [left + right for left, right in _merges(description)]
    added = {token["content"] for token in description["added_tokens"]}
    others = set(description["model"]["vocab"]) - set(byte_alphabet().values()) - added
    return len(results) == len(set(results)) and others <= set(results)


def _all_reached(plain: Backend, description: dict[str, Any]) -> bool:
    """Whether merging the bytes of each piece ends in that piece."""
    return all(
        [token.value for token in plain.model.tokenize(left + right)] == [left + right]
        for left, right in _merges(description)
    )
