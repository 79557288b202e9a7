"""Packed documents whose texts are known, and pairs taken apart again, for the tests of objectives over pairs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from objective_samples import WORDS

from danlu.core.batch import IGNORE, Batch
from danlu.nn.layout import Layout
from danlu.nn.model import Model
from danlu.objectives.pairs import Pairs


def documents(seed: int) -> tuple[Batch, list[list[int]]]:
    """Four rows of three documents each, <cls> text <sep>, and the texts in order."""
    rng = torch.Generator().manual_seed(seed)
    rows, texts = [], []
    for _ in range(4):
        parts = [torch.randint(5, 36, (n,), generator=rng).tolist() for n in (4, 9, 6)]
        texts += parts
        rows.append([[WORDS.roles["cls"], *part, WORDS.roles["sep"]] for part in parts])
    columns = {
        "tokens": [[t for d in row for t in d[:-1]] for row in rows],
        "targets": [[t for d in row for t in d[1:]] for row in rows],
        "segment": [[n for n, d in enumerate(row, 1) for _ in d[1:]] for row in rows],
        "position": [[i for d in row for i in range(len(d) - 1)] for row in rows],
    }
    made = {name: F.pad(torch.tensor(values), (0, 3)) for name, values in columns.items()}
    made["targets"] = made["targets"].masked_fill(made["segment"] == 0, IGNORE)
    return Batch(**made, weight=(made["segment"] > 0).float()), texts


def apart(pairs: Pairs) -> list[tuple[list[int], list[int], int, list[int]]]:
    """Of each row both texts with hidden tokens put back, the label, and the token types."""
    found = []
    shown = torch.where(pairs.targets != IGNORE, pairs.targets, pairs.tokens)
    for row, segment, label, types in zip(shown, pairs.segment, pairs.label, pairs.token_type, strict=True):
        size = int((segment > 0).sum())
        cls, *inside, last = row[:size].tolist()
        assert (cls, last) == (WORDS.roles["cls"], WORDS.roles["sep"])
        middle = inside.index(WORDS.roles["sep"])
        assert not types[size:].any()
        found.append((inside[:middle], inside[middle + 1 :], int(label), types[:size].tolist()))
    return found


def layout_of(pairs: Pairs) -> Layout:
    return Layout.of(pairs.position, pairs.segment, token_type=pairs.token_type)


@torch.no_grad()
def separate_losses(model: Model, record: Pairs) -> tuple[float, float]:
    """The mean loss of hidden tokens and that of labels, by torch on whole logits, one row at a time."""
    tokens, labels = [], []
    for row in record.split(len(record)):
        size = int((row.segment > 0).sum())
        row = row.map(lambda t, size=size: t[:, :size] if t.ndim == 2 else t)
        hidden = model.hidden(row.tokens, layout_of(row))
        tokens.append(F.cross_entropy(model.head(hidden)[0], row.targets[0], ignore_index=IGNORE, reduction="sum"))
        pooled = torch.tanh(model.pooler.dense(hidden[:, 0]))  # type: ignore[union-attr,operator]
        labels.append(F.cross_entropy(model.classify(pooled), row.label))  # type: ignore[operator]
    hidden_tokens = int((record.targets != IGNORE).sum())
    return float(sum(tokens)) / hidden_tokens, float(sum(labels)) / len(labels)
