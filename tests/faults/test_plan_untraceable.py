"""A step that cannot be traced is planned from below and says so; a base larger than the machine is never read."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor
from train_tiny import write_recipe

from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.models import recipe_of
from danlu.nn.norms.rms import RmsNorm
from danlu.plan import Work, parameters
from danlu.train import forecast, run, train
from danlu.train.forecast import memory_of


class Curious(RmsNorm):
    """A norm that needs the numbers themselves."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.detach().contiguous().numpy().shape == x.shape
        return super().forward(x)


def test_a_part_that_looks_at_numbers_leaves_a_lower_bound_and_a_note() -> None:
    curious = {"use": f"{__name__}:Curious"}
    recipe = recipe_of(
        Spec("decoder", {"model": 32, "layers": 1, "heads": 2, "context": 32, "norm": curious}), vocab=50
    )
    found = memory_of(Work(recipe=recipe, rows=1, length=16))
    assert "cannot be traced" in found.notes[0]
    assert found.peak_bytes == 16 * parameters(recipe).total


def test_a_run_with_such_a_part_trains(tmp_path: Path) -> None:
    shape = {"use": "decoder", "model": 32, "layers": 1, "heads": 2, "context": 64, "norm": f"{__name__}:Curious"}
    done = train(write_recipe(tmp_path, architecture=shape), ["train.steps=2"], out=tmp_path / "run", quiet=True)
    assert done.report["steps"] == 2


def test_what_cannot_fit_is_refused_before_a_weight_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "memory_of_machine", lambda: 1000)
    monkeypatch.setattr("danlu.plan.devices.memory_of_machine", lambda: 1000)
    monkeypatch.setattr(run, "origin", lambda recipe: pytest.fail("weights were read"))
    with pytest.raises(ConfigError, match="this run: needs"):
        train(write_recipe(tmp_path), out=tmp_path / "run", quiet=True)
