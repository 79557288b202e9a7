"""Fields of a request to the settings of the engine."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

from pydantic_core import from_json

from ..core.errors import DanluError, unknown
from ..core.registry import Registry
from ..core.spec import Spec
from ..infer.contrasts import CONTRASTS
from ..infer.sampling import Sampling
from ..infer.searches import SEARCHES
from ..tokenize import Tokenizer
from .errors import Refused, refusal
from .schemas.chat import Chat
from .schemas.completions import Completions
from .schemas.decoding import Decoding, Structured

KNOWN = frozenset(field.name for field in fields(Sampling))
SAME = (
    "min_p", "typical_p", "repetition_penalty", "presence_penalty", "frequency_penalty", "no_repeat_ngram_size",
    "min_tokens", "prompt_logprobs", "seed",
)  # fmt: skip
BIAS = 100.0  # the largest, both ways
NOTHING = 1e-9  # top_p 0 means the likeliest token alone


def sampling(
    body: Chat | Completions,
    limit: int,
    tokenizer: Tokenizer,
    vocab: int,
    *,
    constraint: dict[str, Any] | None = None,
    shown: Sequence[int] = (),
) -> Sampling:
    """The settings of ``limit`` new tokens at most; ``constraint`` is what tools ask for, ``shown`` are special
    tokens that stay in the text.

    Raises: Refused that names the field.
    """
    constraints = [one for one in (constraint, constrained(body)) if one]
    if len(constraints) > 1:
        raise Refused("tool_choice and response_format (or guided_*) want different forms; give one", param="tools")
    asked = {name: value for name in SAME if (value := getattr(body, name)) is not None}
    asked |= {"seed": secrets.randbits(62)} if body.seed is None else {}
    if body.prompt_logprobs is None and isinstance(body, Completions) and body.echo:
        asked["prompt_logprobs"] = body.logprobs
    try:
        return Sampling(
            max_tokens=max(limit, 1),
            temperature=_temperature(body),
            top_p=max(_or(body.top_p, 1.0), NOTHING),
            top_k=min(max(body.top_k or 0, 0), vocab),
            logit_bias=_biases(body, vocab),
            bad_words=_bad_words(body.bad_words or [], tokenizer),
            stop=_stop(body.stop),
            stop_ids=_stop_ids(body, tokenizer, vocab),
            ignore_eos=body.ignore_eos,
            n=max(body.best_of or 0, body.answers) if not body.use_beam_search else body.answers,
            logprobs=_told(body),
            search=_search(body),
            contrast=None if body.contrast is None else _spec(body.contrast, "contrast", CONTRASTS),
            constraint=constraints[0] if constraints else None,
            shown_ids=tuple(shown) if body.skip_special_tokens else tuple(sorted(tokenizer.special_ids)),
            **asked,
        )
    except DanluError as error:
        raise refusal(error, KNOWN) from None


def constrained(body: Decoding) -> dict[str, Any] | None:
    """The one form that an answer must have, of all the words there are for it."""
    structured = body.structured_outputs or Structured()
    format_ = body.response_format
    asked = {
        "response_format": _format(body) if format_ else None,
        "guided_json": _schema("guided_json", body.guided_json),
        "guided_regex": body.guided_regex and {"regex": body.guided_regex},
        "guided_choice": body.guided_choice and {"choice": body.guided_choice},
        "guided_grammar": body.guided_grammar and {"grammar": body.guided_grammar},
        "structured_outputs.json": _schema("structured_outputs.json", structured.json_),
        "structured_outputs.regex": structured.regex and {"regex": structured.regex},
        "structured_outputs.choice": structured.choice and {"choice": structured.choice},
        "structured_outputs.grammar": structured.grammar and {"grammar": structured.grammar},
        "structured_outputs.json_object": {"json_object": True} if structured.json_object else None,
    }
    given = {name: value for name, value in asked.items() if value}
    if len(given) > 1:
        raise Refused(f"{' and '.join(given)} cannot go together; give one form", param=next(iter(given)))
    return next(iter(given.values()), None)


def _format(body: Decoding) -> dict[str, Any] | None:
    assert body.response_format is not None
    if body.response_format.json_schema is not None:
        return {"json_schema": body.response_format.json_schema.schema_}
    return {"json_object": True} if body.response_format.type == "json_object" else None


def _schema(name: str, given: str | dict[str, Any] | None) -> dict[str, Any] | None:
    if given is None:
        return None
    if isinstance(given, str):
        try:
            given = from_json(given)
        except ValueError as error:
            raise Refused(f"{name}: is no JSON: {error}", param=name) from None
        if not isinstance(given, dict):
            raise Refused(f"{name}: a schema is an object", param=name)
    return {"json_schema": given}


def _temperature(body: Decoding) -> float:
    """OpenAI's default is 1; a search looks for the likeliest, so its own is greedy."""
    return _or(body.temperature, 0.0 if body.use_beam_search or body.search else 1.0)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _stop(stop: str | list[str] | None) -> tuple[str, ...]:
    return (stop,) if isinstance(stop, str) else tuple(stop or ())


def _stop_ids(body: Decoding, tokenizer: Tokenizer, vocab: int) -> tuple[int, ...] | None:
    """The client's beside the tokenizer's own."""
    if body.stop_token_ids is None:
        return None
    if wrong := [i for i in body.stop_token_ids if i >= vocab]:
        raise _no_token("stop_token_ids", wrong[0], vocab)
    own: Sequence[int] = () if body.ignore_eos else tokenizer.stops
    return tuple(dict.fromkeys([*own, *body.stop_token_ids]))


def _biases(body: Decoding, vocab: int) -> dict[int, float]:
    found: dict[int, float] = {}
    for key, bias in (body.logit_bias or {}).items():
        if not (key.isascii() and key.isdecimal() and len(key) < 10):
            raise Refused(f"logit_bias: {key[:40]!r} is no token id; write it as text of a number", param="logit_bias")
        if int(key) >= vocab:
            raise _no_token("logit_bias", int(key), vocab)
        if not -BIAS <= bias <= BIAS:
            raise Refused(f"logit_bias: {bias} for {key} is not within -100 … 100", param="logit_bias")
        found[int(key)] = bias
    return found


def _bad_words(words: Sequence[str], tokenizer: Tokenizer) -> tuple[tuple[int, ...], ...]:
    """As they begin a text and as they follow a space."""
    spelled = (tuple(tokenizer.encode(form)) for word in words for form in (word, f" {word.lstrip()}"))
    return tuple(dict.fromkeys(ids for ids in spelled if ids))


def _told(body: Chat | Completions) -> int | None:
    """best_of is decided by log-probabilities, so they are needed then in any case."""
    return 0 if body.told is None and body.best_of is not None else body.told


def _search(body: Decoding) -> Spec | None:
    if body.search is not None:
        return _spec(body.search, "search", SEARCHES)
    if not body.use_beam_search:
        return None
    settings: dict[str, Any] = {"width": max(body.best_of or 0, body.answers)}
    for name in ("length_penalty", "early_stopping"):
        if (value := getattr(body, name)) is not None:
            settings[name] = value
    return Spec("beam", settings)


def _spec(given: dict[str, Any], name: str, registry: Registry[Any]) -> Spec:
    """A registered part and no other: a colon would reach for any name of any module."""
    if any(":" in text for text in _texts(given)):
        raise Refused(f"{name}: no part and no setting of a part has a colon in it", param=name)
    spec = Spec.read(given, name)
    if spec.use not in set(registry):
        raise Refused(str(unknown(registry.kind, spec.use, list(registry))), param=name)
    return spec


def _texts(value: Any) -> Iterator[str]:
    """Every text in a value of JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for item in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from _texts(item)


def _no_token(name: str, token: int, vocab: int) -> Refused:
    return Refused(f"{name}: {token} is no token of the model; its ids are 0 … {vocab - 1}", param=name)
