"""The held-out loss of a model that knows nothing, and bits a byte by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from data_tokenizer import make_tokenizer
from train_tiny import Fixed, packed, tiny_model

from danlu.core.errors import ConfigError
from danlu.objectives.next_token import NextToken
from danlu.train import held_out
from danlu.train.optims.sgd import Sgd
from danlu.train.trainer import Trainer


def uniform(vocab: int = 40) -> Trainer:
    model = tiny_model(vocab=vocab, tied=False)
    torch.nn.init.zeros_(model.head.weight)
    return Trainer(model, NextToken(), Fixed(packed(2, 24)), Sgd(), micro=2)


def test_a_uniform_model_loses_ln_v() -> None:
    found = held_out.measure(uniform(), lambda: [packed(5, 24), packed(3, 24, seed=1)], None)
    assert found == {"held_out_loss": pytest.approx(math.log(40), rel=1e-6)}


def test_bits_a_byte_by_hand() -> None:
    """Each token costs log2 40 bits; a token of n bytes shares them among n; weights count on both sides."""
    batch = packed(2, 24)
    table = torch.arange(40.0)
    found = held_out.measure(uniform(), lambda: [batch], table)
    bits = float(batch.weight.sum()) * math.log2(40)
    size = sum(float(w) * int(t) for w, t in zip(batch.weight.flatten(), batch.targets.flatten(), strict=True))
    assert found["bits_per_byte"] == pytest.approx(bits / size, rel=1e-5)


def test_bytes_are_those_of_the_text_and_special_tokens_have_none(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path)
    table = held_out.byte_table(tokenizer, tokenizer.vocab_size + 5)
    text = "the quick brown fox 床前明月光"
    assert table[tokenizer.encode(text)].sum().item() == len(text.encode())
    assert table[tokenizer.eos].item() == 0  # type: ignore[index]
    assert len(table) == tokenizer.vocab_size + 5


def test_measuring_does_not_disturb_training() -> None:
    trainer = uniform()
    trainer.model.train()
    held_out.measure(trainer, lambda: [packed(2, 24)], None)
    assert trainer.model.training
    assert all(p.grad is None for p in trainer.model.parameters())


def test_nothing_held_out_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"data.held_out.share"):
        held_out.measure(uniform(), lambda: [], None)
