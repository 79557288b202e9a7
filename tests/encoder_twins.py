"""What an encoder of transformers and the same one of danlu answer to rows with padding and two kinds of tokens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import cross_entropy

from danlu.models.reading import entries_of
from danlu.nn.layout import Layout

SIZES = {
    "vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 40,
    "max_position_embeddings": 48, "type_vocab_size": 2, "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}  # fmt: skip
_generator = torch.Generator().manual_seed(1)
TOKENS = torch.randint(5, 97, (3, 24), generator=_generator)
TYPES = torch.randint(0, 2, TOKENS.shape, generator=_generator)
SEGMENT = torch.ones_like(TOKENS)
SEGMENT[1, 15:] = 0
SEGMENT[2, 9:] = 0
REAL = SEGMENT == 1


def padded(pad: int) -> Tensor:
    """The rows with padding tokens where padding is."""
    return TOKENS.masked_fill(~REAL, pad)


def layout() -> Layout:
    """The same rows as danlu sees them."""
    position = torch.arange(TOKENS.shape[1]).expand_as(TOKENS)
    return Layout.of(position, SEGMENT, token_type=TYPES)


def theirs_of(model: Any, pad: int) -> Any:
    return model(padded(pad), attention_mask=SEGMENT, token_type_ids=TYPES)


def ours_of(model: Any, pad: int) -> tuple[Tensor, Tensor | None]:
    """Logits of tokens (or hidden states), and what is scored or pooled of each row, where there is a pooler."""
    where = layout()
    hidden = model.hidden(padded(pad), where)
    pooled = None if model.pooler is None else model.pooler(hidden, where.segment)
    scored = pooled if model.classify is None or pooled is None else model.classify(pooled)
    return model.head(hidden), scored


def same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def same_gradients(theirs: Any, ours: Any, pad: int, scored: str | None, folder: Path) -> None:
    """Of the sum of a loss over all real tokens and one over rows; ``scored`` names transformers' scores of rows."""
    labels, rows = TOKENS.roll(3, 1)[REAL], torch.tensor([0, 1, 1])
    out, (logits, classes) = theirs_of(theirs.train(), pad), ours_of(ours.train(), pad)
    expected = cross_entropy((out.prediction_logits if scored else out.logits)[REAL], labels)
    found = cross_entropy(logits[REAL], labels)
    if scored is not None and classes is not None:
        expected, found = expected + cross_entropy(out[scored], rows), found + cross_entropy(classes, rows)
    same(found, expected)
    expected.backward()
    found.backward()
    published, parameters = published_gradients(theirs, folder), dict(ours.named_parameters())
    for entry in entries_of(ours):
        same(entry.pack([parameters[name].grad for name in entry.ours]), published[entry.name])


def published_gradients(theirs: Any, folder: Path) -> dict[str, Tensor]:
    """The gradients under published names: saved as if they were the weights."""
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
    theirs.save_pretrained(folder)
    return load_file(folder / "model.safetensors")


def same_packed(ours: Any) -> None:
    """Three documents in one row, with padding between, answer what each answers alone."""
    lengths, gap = [9, 6, 5], 2
    position, segment, types = (torch.zeros(1, sum(lengths) + gap, dtype=torch.long) for _ in range(3))
    tokens, at = torch.full_like(position, 3), 0
    alone, places = [], []
    for number, length in enumerate(lengths, 1):
        here = slice(at, at + length)
        position[0, here], segment[0, here] = torch.arange(length), number
        tokens[0, here], types[0, here] = TOKENS[number - 1, :length], TYPES[number - 1, :length]
        document = tokens[:, here]
        alone.append(ours(document, replace(Layout.dense(document), token_type=types[:, here])))
        places.append(here)
        at += length + gap * (number == 1)
    packed = ours(tokens, Layout.of(position, segment, token_type=types))
    for here, logits in zip(places, alone, strict=True):
        torch.testing.assert_close(packed[:, here], logits, atol=1e-5, rtol=1e-5)
