"""A tokenizer in the fields of a GGUF file: what llama.cpp needs to give the same ids, stops and conversations."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from ...core.errors import ConfigError
from ..tokenizer import Tokenizer
from .vocabularies import CONTROL, NORMAL, UNUSED, USER_DEFINED, VOCABULARIES, Vocabulary

KEY = "tokenizer.ggml."
TEMPLATE = "tokenizer.chat_template"
ROLES = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}
"""Ours → theirs."""
MORE = ("eot", "eom")
"""Further tokens at which llama.cpp ends an answer."""


def vocabulary(tokenizer: Tokenizer, rows: int, stops: Collection[int] = ()) -> dict[str, Any]:
    """The fields of a tokenizer for a model with so many rows of embeddings; those without a token are named [PADn].

    ``stops`` are further tokens at which the model's answers end.
    Raises: ConfigError with the reason if llama.cpp would cut text in another way, or stop elsewhere.
    """
    name, kind = _fitting(tokenizer)
    ids: dict[str, int] = {ours: token for ours in ROLES if (token := _role(tokenizer, ours)) is not None}
    first = [ids["eos"]] if "eos" in ids else []
    ends: list[int] = list(dict.fromkeys([*first, *tokenizer.stops, *stops]))
    if not 1 <= len(ends) <= 1 + len(MORE):
        raise ConfigError(
            f"llama.cpp ends an answer at one to {1 + len(MORE)} tokens, here it ends at {len(ends)}; name an "
            "eos_token in tokenizer_config.json, or strike some of eos_token_id in generation_config.json"
        )
    ids["eos"], *ends = ends
    around, inside = tokenizer.encode("a", special=True), tokenizer.encode("a")
    before = around[: around.index(inside[0])] if inside else []
    after = around[len(before) + len(inside) :]
    said = {"add_bos_token": bool(before), "add_eos_token": bool(after)}
    if before not in ([], [ids.get("bos")]) or after not in ([], [ids["eos"]]):
        raise ConfigError("llama.cpp puts bos before a text and eos after it, this tokenizer other tokens")
    ids.setdefault("bos", ids["eos"])  # or llama.cpp takes one by its number
    return {
        f"{KEY}model": name,
        **_pieces(tokenizer, rows, kind),
        **{f"{KEY}{field}": value for field, value in kind.fields(tokenizer).items()},
        **{f"{KEY}{ROLES[role]}_token_id": token for role, token in ids.items()},
        **{f"{KEY}{role}_token_id": token for role, token in zip(MORE, ends, strict=False)},
        **{f"{KEY}{field}": value for field, value in said.items()},
        **_templates(tokenizer),
    }


def _fitting(tokenizer: Tokenizer) -> tuple[str, Vocabulary]:
    reasons = {name: VOCABULARIES[name]().refuses(tokenizer.description) for name in VOCABULARIES}
    name = next((name for name, reason in reasons.items() if reason is None), None)
    if name is None:
        kind = tokenizer.description["model"].get("type")
        why = "; ".join(f"{name}: {reason}" for name, reason in sorted(reasons.items()))
        raise ConfigError(f"llama.cpp has no vocabulary like this {kind} ({why}); export the model as hf")
    if note := VOCABULARIES[name]().differs(tokenizer.description):
        logging.getLogger("danlu").warning("GGUF: %s", note)
    return name, VOCABULARIES[name]()


def _role(tokenizer: Tokenizer, role: str) -> int | None:
    text = tokenizer.profile.name(role)
    return None if text is None else tokenizer.id(text)


def _pieces(tokenizer: Tokenizer, rows: int, kind: Vocabulary) -> dict[str, Any]:
    """Texts, scores and types of all rows."""
    texts = [tokenizer.piece(token) for token in range(tokenizer.vocab_size)]
    listed = tokenizer.description["added_tokens"]
    added = {token["id"]: CONTROL if token["special"] else USER_DEFINED for token in listed}
    types = [added.get(token, NORMAL) if text else UNUSED for token, text in enumerate(texts)]
    types = [kind.type_of(text, type_) for text, type_ in zip(texts, types, strict=True)]
    texts = [text or f"[PAD{token}]" for token, text in enumerate(texts)]
    more = range(len(texts), rows)
    scores = kind.scores(tokenizer.description, texts)
    return {
        f"{KEY}tokens": texts + [f"[PAD{token}]" for token in more],
        f"{KEY}scores": [*scores, *(-1000.0 for _ in more)] if scores else [],
        f"{KEY}token_type": types + [UNUSED] * len(more),
    }


def _templates(tokenizer: Tokenizer) -> dict[str, Any]:
    if not tokenizer.template.exists:
        return {}
    sources = dict(tokenizer.template.sources)
    first = sources.pop("default", None) or next(iter(tokenizer.template.sources.values()))
    named = {f"{TEMPLATE}.{name}": source for name, source in sources.items() if source != first}
    return {TEMPLATE: first, **({"tokenizer.chat_templates": sorted(sources)} if named else {}), **named}
