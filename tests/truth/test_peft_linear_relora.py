"""ReLoRA: the rank of what was learned grows beyond r, the optimizer forgets, the rate warms up anew."""

from __future__ import annotations

import pytest
import torch
from train_tiny import Fixed, packed, tiny_model

from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.models import build
from danlu.nn.storages import STORAGES, store
from danlu.objectives.next_token import NextToken
from danlu.peft.attached import attach
from danlu.peft.deltas import deltas_of
from danlu.train.optims.adamw import AdamW
from danlu.train.trainer import Trainer

RANK, STEPS = 2, 12


def trainer_of(use: str, **settings) -> Trainer:
    model = tiny_model()
    torch.manual_seed(0)
    found = attach(model, Spec(use, {"rank": RANK, "alpha": 8, **settings}))
    stream = Fixed(packed(4, 24), packed(4, 24, seed=1), packed(4, 24, seed=2))
    return Trainer(model, NextToken(), stream, AdamW(lr=1e-2), tending=found.adapter.tending(model, "default", STEPS))


def whole(model) -> dict[str, torch.Tensor]:
    """Weights with what the adapter adds."""
    return {
        name: delta.merged(delta.base.dense(), None)[0].detach().clone()
        for name, delta in deltas_of(model, "default").items()
    }


def learned_ranks(trainer: Trainer) -> set[int]:
    before = whole(trainer.model)
    trainer.fit(STEPS)
    after = whole(trainer.model)
    return {int(torch.linalg.matrix_rank(after[name] - before[name], rtol=1e-3)) for name in before}


def test_the_rank_of_the_sum_grows_with_restarts() -> None:
    assert learned_ranks(trainer_of("lora")) == {RANK}
    assert learned_ranks(trainer_of("relora", every=4, warmup=1)) == {3 * RANK}  # merged after steps 4 and 8


def test_a_restart_changes_no_answer_and_empties_the_optimizer() -> None:
    trainer = trainer_of("relora", every=4, warmup=2)
    trainer.fit(3)
    delta = next(iter(deltas_of(trainer.model, "default").values()))
    start, moments = delta.base.dense().clone(), trainer.optimizer.state[delta.up.weight]
    assert moments["exp_avg"].abs().max() > 0
    trainer.fit(4)
    tokens = packed(2, 16).tokens
    with torch.no_grad():
        answered = trainer.model.eval()(tokens)
        kept = {name: weight.clone() for name, weight in whole(trainer.model).items()}
    assert not torch.equal(delta.base.dense(), start)
    assert delta.up.weight.abs().max() == 0
    assert all(torch.equal(kept[name], part.base.dense()) for name, part in deltas_of(trainer.model, "default").items())
    assert answered.isfinite().all()
    assert all(value.abs().max() == 0 for value in moments.values())


def test_a_restart_loses_nothing_of_what_was_learned() -> None:
    """The same four steps with and without a restart at their end."""
    merged, plain = trainer_of("relora", every=4, warmup=2), trainer_of("lora")
    merged.fit(4)
    plain.fit(4)
    for name, weight in whole(plain.model).items():
        torch.testing.assert_close(whole(merged.model)[name], weight)


def test_the_pace_by_hand() -> None:
    tending = trainer_of("relora", every=5, warmup=3).tending
    third = 1 / 3
    expected = [1, 1, 1, 1, 1, third, 2 * third, 1, 1, 1, third, 2 * third]
    assert [tending.pace(step) for step in range(1, STEPS + 1)] == pytest.approx(expected)


def test_nothing_is_merged_at_the_very_end() -> None:
    trainer = trainer_of("relora", every=6, warmup=0)
    trainer.fit(STEPS)
    assert all(delta.up.weight.abs().max() > 0 for delta in deltas_of(trainer.model, "default").values())


def test_a_quantized_base_is_refused_before_anything_is_hung() -> None:
    model = tiny_model()
    store(model, STORAGES["nf4"]())
    names = [name for name, _ in model.named_parameters()]
    with pytest.raises(ConfigError, match="is kept as nf4, and what is merged into it would be rounded away"):
        attach(model, Spec("relora"))
    assert [name for name, _ in model.named_parameters()] == names


def test_a_weight_that_layers_share_is_refused() -> None:
    shared = {"model": 32, "layers": 2, "heads": 4, "context": 32, "distinct": 1}
    model = build(Spec("decoder", shared), vocab=40)
    with pytest.raises(ConfigError, match=r"blocks.0.sublayers.attention.q is shared with other places"):
        attach(model, Spec("relora"))


@pytest.mark.parametrize("settings", [{"every": 0}, {"every": 5, "warmup": 5}, {"rank": 0}])
def test_refusals(settings) -> None:
    with pytest.raises(ConfigError, match="adapter relora"):
        attach(tiny_model(), Spec("relora", settings))
