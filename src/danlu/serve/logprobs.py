"""Log-probabilities in the forms of chat, of completions, and of vLLM."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..infer.request import Told
from ..tokenize import Tokenizer

IMPOSSIBLE = -9999.0  # what OpenAI writes for -inf, which JSON has no word for


def spelled(tokenizer: Tokenizer, token: int) -> str:
    """The text of a token by itself; bytes that are no text are written out, as OpenAI does, so that none are alike."""
    raw = tokenizer.piece_bytes(token)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


def for_chat(tokenizer: Tokenizer, tokens: Iterable[Told]) -> dict[str, Any]:
    """``choices[].logprobs`` of chat."""
    content = [
        {**_one(tokenizer, told.id, told.logprob), "top_logprobs": [_one(tokenizer, *pair) for pair in told.top]}
        for told in tokens
    ]
    return {"content": content, "refusal": None}


def for_completions(tokenizer: Tokenizer, tokens: Sequence[Told | None], ids: Sequence[int], at: int) -> dict[str, Any]:
    """``choices[].logprobs`` of completions; ``at`` is where their text begins.

    ``ids`` are those of ``tokens``, of which the first of a prompt has no log-probability.
    """
    offsets: list[int] = []
    decoder = tokenizer.decoder(skip_special=False)
    for token in ids:
        offsets.append(at)
        at += len(decoder.push(token))
    return {
        "tokens": [spelled(tokenizer, token) for token in ids],
        "token_logprobs": [None if told is None else _finite(told.logprob) for told in tokens],
        "top_logprobs": [None if told is None else _by_text(tokenizer, told) for told in tokens],
        "text_offset": offsets,
    }


def for_prompt(tokenizer: Tokenizer, tokens: Sequence[Told | None]) -> list[dict[str, Any] | None]:
    """vLLM's ``prompt_logprobs``: by token id."""
    return [
        None
        if told is None
        else {
            str(token): {"logprob": _finite(logprob), "decoded_token": spelled(tokenizer, token)}
            for token, logprob in dict([*told.top, (told.id, told.logprob)]).items()
        }
        for told in tokens
    ]


def _by_text(tokenizer: Tokenizer, told: Told) -> dict[str, float]:
    """The likeliest tokens and the one that is there; of several with the same text the likeliest."""
    found = {spelled(tokenizer, told.id): _finite(told.logprob)}
    for token, logprob in told.top:
        text = spelled(tokenizer, token)
        found[text] = max(found.get(text, IMPOSSIBLE), _finite(logprob))
    return found


def _one(tokenizer: Tokenizer, token: int, logprob: float) -> dict[str, Any]:
    text = spelled(tokenizer, token)
    return {"token": text, "logprob": _finite(logprob), "bytes": list(tokenizer.piece_bytes(token))}


def _finite(logprob: float) -> float:
    return max(logprob, IMPOSSIBLE)
