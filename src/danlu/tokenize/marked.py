"""Text in which special tokens are written out, as a chat template writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from tokenizers import Tokenizer as Backend

from .engines import Engine
from .engines.reference import Reference

GUARD = "\ufdd0"  # a noncharacter: put inside what a user wrote that spells a special token, so that it stays text


class Plain(NamedTuple):
    """Text without special tokens; ``bare``: no leading space is put before it."""

    text: str
    bare: bool


class Marked:
    """Encodes rendered text: special tokens become their ids, the text between them is plain.

    Text between two special tokens gets a leading space where the vocabulary's own rules put one; text that
    ``continues`` other text gets none.
    """

    def __init__(self, backend: Backend, description: dict[str, Any], engine: Engine) -> None:
        special = [token for token in description["added_tokens"] if token["content"] and _apart(token, description)]
        self._ids = {token["content"]: token["id"] for token in special}
        self._split = re.compile(_pattern(special)) if special else None
        whole = any(t["normalized"] or t["single_word"] for t in special)
        self._whole = Reference(backend) if whole else None
        self._engine = engine
        self._bare = engine if (bare := _bare(description)) is None else Reference(bare)
        self._only_first = _prefixes_only_the_first(description)

    def encode(self, text: str, *, continues: bool = False) -> list[int]:
        if self._whole is not None and not continues and GUARD not in text:
            return self._whole.encode(text)
        out: list[int] = []
        for piece in self.cut(text, continues=continues):
            if isinstance(piece, int):
                out.append(piece)
            else:
                out += self.engine(piece.bare).encode(piece.text.replace(GUARD, ""))
        return out

    def cut(self, text: str, *, continues: bool) -> Iterator[int | Plain]:
        """The ids of the special tokens and the plain text between them, in order; nothing that is empty."""
        bare, at = continues, 0
        for match in self._split.finditer(text) if self._split else ():
            if match.start() > at:
                yield Plain(text[at : match.start()], bare)
            yield self._id(match[0])
            bare, at = self._only_first, match.end()
        if at < len(text):
            yield Plain(text[at:], bare)

    def engine(self, bare: bool) -> Engine:
        """What encodes plain text."""
        return self._bare if bare else self._engine

    @property
    def piecewise(self) -> bool:
        """Whether text may be cut at its special tokens and encoded piece by piece."""
        return self._whole is None

    def _id(self, found: str) -> int:
        return self._ids[found] if found in self._ids else self._ids[found.strip()]


def guard(text: str, special: re.Pattern[str]) -> str:
    """A user's text with a noncharacter inside everything that spells a special token."""
    return special.sub(lambda match: match[0][0] + GUARD + match[0][1:], text)


def _apart(token: dict[str, Any], description: dict[str, Any]) -> bool:
    """Special tokens, and added ones that are looked for in the text as it is."""
    return token["special"] or not (token["normalized"] and description["normalizer"])


def _pattern(special: list[dict[str, Any]]) -> str:
    """The special tokens, longest first; those that swallow the spaces beside them do so."""
    longest = sorted(special, key=lambda token: -len(token["content"]))
    parts = [
        (r"\s*" if t["lstrip"] else "") + re.escape(t["content"]) + (r"\s*" if t["rstrip"] else "") for t in longest
    ]
    return "|".join(parts)


def _bare(description: dict[str, Any]) -> Backend | None:
    """The vocabulary without its leading space; None if it puts none."""
    changed = {**description, "normalizer": _strip(description["normalizer"])}
    changed["pre_tokenizer"] = _strip(description["pre_tokenizer"])
    if changed == description:
        return None
    backend = Backend.from_str(json.dumps(changed))
    backend.encode_special_tokens = True
    return backend


def _strip(step: dict[str, Any] | None) -> dict[str, Any] | None:
    if step is None or step["type"] == "Prepend":
        return None
    if step["type"] == "Metaspace":
        return {**step, "prepend_scheme": "never"}
    if step["type"] == "ByteLevel":
        return {**step, "add_prefix_space": False}
    for name in ("normalizers", "pretokenizers"):
        if name in step:
            return {**step, name: [kept for inner in step[name] if (kept := _strip(inner)) is not None]}
    return step


def _prefixes_only_the_first(description: dict[str, Any]) -> bool:
    return '"prepend_scheme": "first"' in json.dumps(description["pre_tokenizer"])
