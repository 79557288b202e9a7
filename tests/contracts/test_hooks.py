"""Every hook: reads numbers and asks; it lets the weights be, whether alone or with all the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from train_tiny import Fixed, packed, tiny_model

from danlu.objectives.next_token import NextToken
from danlu.train.hooks import HOOKS, Ask, Hook, Sight
from danlu.train.optims.adamw import AdamW
from danlu.train.trainer import Trainer

pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated.*:DeprecationWarning")


def sight_of(folder: Path, lines: list[dict[str, Any]], steps: int = 6) -> Sight:
    return Sight(
        folder=folder, start=0, steps=steps, quiet=True, flops=1e6, evaluate=lambda: {"held_out_loss": 2.0},
        blame=lambda: "blocks.0", record=lines.append, recorded=lambda: lines, note=lambda sentence: None, rate=lambda: 1e9,
    )  # fmt: skip


def trained(hooks: list[Hook]) -> list[torch.Tensor]:
    torch.manual_seed(0)
    model = tiny_model(use="decoder", dropout=0.1)
    trainer = Trainer(model, NextToken(), Fixed(packed(2, 24)), AdamW())
    trainer.fit(6, hooks)
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize("name", [*sorted(HOOKS), "all"])
def test_hooks_leave_no_trace_in_the_weights(name: str, tmp_path: Path) -> None:
    hooks = [HOOKS[one]() for one in (sorted(HOOKS) if name == "all" else [name])]
    for hook in hooks:
        assert isinstance(hook.begin(sight_of(tmp_path, [])), Ask)
    found = trained(sorted(hooks, key=lambda hook: hook.turn))
    for hook in hooks:
        hook.rewound(3)
        hook.end()
    assert all(torch.equal(a, b) for a, b in zip(found, trained([]), strict=True))


def test_a_rescue_comes_first_and_saving_before_evaluation() -> None:
    turns = sorted((HOOKS[name].turn, name) for name in HOOKS)
    order = [name for _, name in turns]
    assert order[0] == "rescue"
    assert order.index("log") < order.index("save") < order.index("evaluate")


@pytest.mark.parametrize("every", [1, 2, 3, 4])
def test_saving_is_asked_at_multiples_and_at_the_end(every: int, tmp_path: Path) -> None:
    hook = HOOKS["save"](every=every)
    hook.begin(sight_of(tmp_path, []))
    asked = []

    class Keeper:
        def save(self, trainer: Trainer) -> None:
            asked.append(trainer.step)

        def rewind(self, trainer: Trainer) -> int:
            raise AssertionError

    Trainer(tiny_model(), NextToken(), Fixed(packed(2, 24)), AdamW()).fit(6, [hook], Keeper())
    assert asked == sorted({*range(every, 7, every), 6})
