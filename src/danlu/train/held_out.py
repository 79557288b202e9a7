"""The loss on rows that training never saw."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from ..core.batch import IGNORE, Batch, Record
from ..core.errors import ConfigError
from ..tokenize import Tokenizer
from .trainer import Trainer


def measure(trainer: Trainer, rows: Callable[[], Iterable[Record]], bytes_: Tensor | None) -> dict[str, float]:
    """held_out_loss = Σ total / Σ weight over all rows, in nats; bits_per_byte where the bytes of tokens are known.

    bits_per_byte = Σ total / (ln 2 · Σ weight · bytes of the target); special tokens count no byte.
    Raises: ConfigError if nothing is held out.
    Truth:  tests/truth/test_held_out.py (a uniform model: ln V nats; the byte sum by hand).
    """
    total = weight = size = 0.0
    was_training = trainer.model.training
    trainer.model.eval()
    with torch.no_grad():
        for batch in rows():
            for part in trainer.parts([batch]):
                with trainer.precision.forward(torch.device(trainer.device).type):
                    loss = trainer.objective.loss(trainer.model, part)
                total, weight = total + loss.total.item(), weight + loss.weight.item()
                size += _bytes(part, bytes_)
    trainer.model.train(was_training)
    if not weight:
        raise ConfigError(
            "nothing is held out to evaluate on; set data.held_out.share, for example 0.05, or strike the hook"
        )
    found = {"held_out_loss": total / weight}
    return {**found, "bits_per_byte": total / (math.log(2) * size)} if size else found


def byte_table(tokenizer: Tokenizer, vocab: int) -> Tensor:
    """How many bytes of text each id stands for; 0 for special tokens.  (V,)"""
    special = tokenizer.special_ids
    known = [0 if i in special else len(tokenizer.piece_bytes(i)) for i in range(min(vocab, tokenizer.vocab_size))]
    return torch.tensor([*known, *[0] * (vocab - len(known))], dtype=torch.float32)


def _bytes(batch: Record, table: Tensor | None) -> float:
    if table is None or not isinstance(batch, Batch):
        return 0.0
    targets = batch.targets.masked_fill(batch.targets == IGNORE, 0)
    return float((table.to(targets.device)[targets] * batch.weight).sum())
