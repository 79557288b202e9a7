"""The figures of metrics.jsonl worked by hand, whole lines after a kill, and the same numbers in TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from train_tiny import write_recipe

from danlu.train.hooks import Sight
from danlu.train.hooks.log import Log
from danlu.train.ledger import Ledger
from danlu.train.numbers import Numbers
from danlu.train.run import train


def numbers(step: int, **changes: Any) -> Numbers:
    given = {
        "loss": 2.5,
        "norm": 0.5,
        "lr": 1e-3,
        "tokens": 300,
        "tokens_seen": 300 * step,
        "seconds": 1.5,
        "batches": (step,),
    }
    return Numbers(step=step, **{**given, **changes})


def logged(folder: Path, *steps: Numbers, rate: float = 4e9, every: int = 1) -> list[dict[str, Any]]:
    ledger = Ledger(folder / "metrics.jsonl")
    sight = Sight(
        folder=folder, start=0, steps=9, quiet=True, flops=2e6, evaluate=dict, blame=str, record=ledger.append,
        recorded=lambda: ledger.lines, note=lambda sentence: None, rate=lambda: rate,
    )  # fmt: skip
    hook = Log(every=every)
    hook.begin(sight)
    for one in steps:
        hook.after(one)
    hook.end()
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_line_by_hand(tmp_path: Path) -> None:
    """300 tokens in 1.5 s are 200 a second; at 2 MFLOP a token that is 0.4 of 4 GFLOP/s, a tenth."""
    (line,) = logged(tmp_path, numbers(2))
    assert line == {
        "step": 2, "loss": 2.5, "norm": 0.5, "lr": 1e-3, "tokens": 600, "seconds": 1.5, "tokens_per_s": 200.0, "mfu": 0.1
    }  # fmt: skip


def test_what_is_not_finite_is_null(tmp_path: Path) -> None:
    (line,) = logged(tmp_path, numbers(1, norm=float("inf"), skipped=True, scale=65536.0))
    assert (line["norm"], line["skipped"], line["scale"]) == (None, 1, 65536.0)


def test_every_third_step_and_the_last(tmp_path: Path) -> None:
    assert [line["step"] for line in logged(tmp_path, *map(numbers, range(1, 10)), every=4)] == [4, 8, 9]


def test_a_torn_line_is_dropped_and_a_cut_forgets(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"ste')
    ledger = Ledger(path)
    assert [line["step"] for line in ledger.lines] == [1, 2, 3]
    ledger.cut(2)
    ledger.append({"step": 3})
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n{"step": 3}\n'


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_holds_the_same_losses(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="it comes with the extra tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    done = train(
        write_recipe(tmp_path, hooks=["log", "tensorboard"]), ["train.steps=4"], out=tmp_path / "out", quiet=True
    )
    events = EventAccumulator(str(tmp_path / "out" / "tensorboard")).Reload()
    found = [(e.step, e.value) for e in events.Scalars("loss")]
    assert [step for step, _ in found] == [1, 2, 3, 4]
    assert [value for _, value in found] == pytest.approx([line["loss"] for line in done.metrics], rel=1e-6)
