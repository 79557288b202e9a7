"""New pieces for an old vocabulary: from text of another language or trade, or from another vocabulary."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from tokenizers import Tokenizer as Backend

from ..core.errors import ConfigError, DataError
from .corpus import Corpus, nonempty, texts
from .extenders import EXTENDERS, Additions, Extender
from .pieces import BYTE_PIECE
from .tokenizer import Tokenizer


@dataclass(frozen=True)
class Extended:
    """The grown tokenizer, and of which old ids each of its new tokens is made: what ``models.grow`` asks for.

    unreached: new pieces that no text becomes, because the pieces between are missing.
    """

    tokenizer: Tokenizer
    pieces: list[list[int]]
    unreached: int = 0


def extend(base: Tokenizer, corpus: Corpus, *, add: int = 4096, rows: int | None = None) -> Extended:
    """Learns at most ``add`` pieces on text; no old id moves.

    rows: how many rows the embedding of the model has, where that is more than the vocabulary; the ids between are
    given to reserved tokens, so that the first new id is the first new row.
    Raises: DataError if there is no text or the vocabulary is of a kind that cannot grow; ConfigError if add < 1.
    """
    if add < 1:
        raise ConfigError(f"add must be at least 1 token, found {add}")
    extender = _extender(base)
    additions = extender.learn(base, nonempty(texts(corpus), "the text to extend by"), add)
    return _grown(base, extender, additions, rows)


def extend_with(base: Tokenizer, other: Tokenizer, *, rows: int | None = None) -> Extended:
    """Adds the pieces of another vocabulary that the base does not hold, in their order; no old id moves."""
    extender = _extender(base)
    return _grown(base, extender, extender.merge(base, _spoken(other)), rows)


def tokens_per_character(tokenizer: Tokenizer, sample: Iterable[str]) -> float:
    """Tokens of a text over its characters: lower is shorter."""
    given = list(sample)
    characters = sum(map(len, given))
    return sum(map(len, tokenizer.encode_batch(given))) / max(characters, 1)


def _extender(base: Tokenizer) -> Extender:
    description = base.description
    for name in EXTENDERS:
        if EXTENDERS[name].serves(description):
            return EXTENDERS[name]()
    kind = description["model"]["type"]
    raise DataError(f"a vocabulary of kind {kind} cannot be extended; those that can: {', '.join(EXTENDERS)}")


def _grown(base: Tokenizer, extender: Extender, additions: Additions, rows: int | None) -> Extended:
    first = base.vocab_size
    if rows is not None and rows < first:
        raise ConfigError(f"the model has {rows} rows for {first} tokens of the vocabulary; name its own tokenizer")
    description = base.description
    reserved = [f"<|reserved_{token}|>" for token in range(first, rows or first)]
    description["added_tokens"] += [_reserved(text, first + n) for n, text in enumerate(reserved)]
    if isinstance(description["model"]["vocab"], dict):
        # the library numbers added tokens after all pieces unless they are pieces too
        description["model"]["vocab"] |= {token["content"]: token["id"] for token in description["added_tokens"]}
    else:
        description["model"]["vocab"] += [[text, _lowest(description)] for text in reserved]
    extender.write(description, additions, first + len(reserved))
    tokenizer = Tokenizer(Backend.from_str(json.dumps(description)), _profile(base), source=base.source)
    return Extended(tokenizer, additions.made_of, additions.unreached)


def _profile(base: Tokenizer) -> Any:
    """The base's, without the list of added tokens: the grown ``tokenizer.json`` holds it."""
    rest = {key: value for key, value in base.profile.rest.items() if key != "added_tokens_decoder"}
    return replace(base.profile, rest=rest)


def _reserved(text: str, token: int) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": token, "content": text, "special": True, **flags}


def _lowest(description: dict[str, Any]) -> float:
    return min(score for _, score in description["model"]["vocab"])


def _spoken(other: Tokenizer) -> list[tuple[bytes, float]]:
    """The pieces of a vocabulary that text is made of, in the order of their ids, with their scores."""
    model = other.description["model"]
    scores = [score for _, score in model["vocab"]] if isinstance(model["vocab"], list) else []
    found = []
    for token in range(other.vocab_size):
        piece = other.piece(token)
        if piece and token not in other.special_ids and not BYTE_PIECE.match(piece) and token != other.unk:
            found.append((other.piece_bytes(token), scores[token] if token < len(scores) else -float(token)))
    return found
