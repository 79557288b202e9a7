"""The held-out loss of a model that knows nothing, and bits a byte by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from data_tokenizer import make_tokenizer
from objective_samples import WORDS, encoder
from pair_samples import documents
from torch import Tensor
from train_tiny import Fixed, packed, tiny_model

from danlu.core.batch import Batch
from danlu.core.errors import ConfigError
from danlu.nn.model import Model
from danlu.objectives import Objective
from danlu.objectives.masked import Masked
from danlu.objectives.next_token import NextToken
from danlu.objectives.scheduled_sampling import ScheduledSampling
from danlu.objectives.sentence_order import SentenceOrder
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


def measured(objective: Objective, batch: Batch, model: Model, table: Tensor | None = None) -> dict[str, float]:
    trainer = Trainer(model, objective, Fixed(batch), Sgd(), micro=2)
    return held_out.measure(trainer, lambda: [batch], table)


def test_every_measurement_asks_the_same_and_disturbs_no_draw() -> None:
    """Masks are drawn from one seed; the generator and the objective's mode are afterwards as they were."""
    objective = Masked(16, WORDS)
    trainer = Trainer(encoder(), objective, Fixed(packed(4, 24)), Sgd(), micro=2)
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        found.append(held_out.measure(trainer, lambda: [packed(4, 24)], None))
        assert torch.equal(torch.get_rng_state(), before)
        assert objective.training
    assert found[0] == found[1]


def test_bits_a_byte_only_where_a_text_is_coded() -> None:
    """What is hidden or paired is no code of the text; after own words or not, held out it is next-token prediction."""
    table = torch.arange(40.0)
    assert "bits_per_byte" not in measured(Masked(16, WORDS), packed(4, 24), encoder(), table)
    assert "bits_per_byte" not in measured(SentenceOrder(16, WORDS), documents(0)[0], encoder(), table)
    plain = measured(NextToken(16), packed(4, 24), tiny_model(), table)
    assert measured(ScheduledSampling(16, k=1, least=0.0), packed(4, 24), tiny_model(), table) == plain
    assert "bits_per_byte" in plain


def test_the_parts_of_a_loss_are_told_apart() -> None:
    found = measured(SentenceOrder(16, WORDS), documents(0)[0], encoder())
    assert set(found) == {"held_out_loss", "held_out_masked", "held_out_pairs", "held_out_pairs_right"}
    assert found["held_out_masked"] + found["held_out_pairs"] == pytest.approx(found["held_out_loss"], rel=1e-6)
    assert found["held_out_pairs"] == pytest.approx(math.log(2), abs=0.1)
