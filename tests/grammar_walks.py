"""Random answers that keep to a constraint, as a model without any sense would give them."""

from __future__ import annotations

from typing import Any

import torch

from danlu.infer.constraint import Matcher, Vocabulary
from danlu.tokenize import Tokenizer


def walk(matcher: Matcher, stops: tuple[int, ...], seed: int, limit: int = 300) -> list[int]:
    """Tokens drawn evenly from what is allowed, the stop left out."""
    dice, tokens = torch.Generator().manual_seed(seed), []
    while not matcher.over and len(tokens) < limit:
        token = int(torch.multinomial(matcher.allowed().float(), 1, generator=dice))
        matcher.take(token)
        if token in stops:
            break
        tokens.append(token)
    return tokens


def answer(vocabulary: Vocabulary, tokenizer: Tokenizer, constraint: dict[str, Any], seed: int) -> str:
    """The text of a random answer that came to its end."""
    matcher = vocabulary.grammar(constraint).matcher(tokenizer.stops)
    tokens = walk(matcher, tokenizer.stops, seed)
    assert len(tokens) < 300, "the answer did not come to its end"
    assert not matcher.failure
    decoder = tokenizer.decoder(skip_special=False)
    return "".join(map(decoder.push, tokens)) + decoder.flush()
