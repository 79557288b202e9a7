"""Every adapter, optimizer and storage runs on tensors without memory, and keeps none of them."""

from __future__ import annotations

import gc
from inspect import Parameter
from typing import Any

import pytest
from torch._subclasses.fake_tensor import FakeTensor

from danlu.core.spec import Spec, settings_of
from danlu.models import recipe_of
from danlu.nn.storages import STORAGES
from danlu.peft import ADAPTERS
from danlu.plan.work import Work
from danlu.train.forecast import memory_of
from danlu.train.optims import OPTIMS

MODEL = recipe_of(Spec("gpt2", {"model": 128, "layers": 1, "heads": 2, "context": 64}), vocab=300)


def free(part: Any) -> bool:
    """Whether it needs nothing that lies on a disk."""
    return all(p.default is not Parameter.empty for p in settings_of(part).values())


def works() -> dict[str, dict[str, Any]]:
    adapters = {f"adapter {name}": {"adapter": Spec(name)} for name in ADAPTERS if free(ADAPTERS[name])}
    optims = {f"optimizer {name}": {"optim": Spec(name)} for name in OPTIMS}
    storages = {f"storage {n}": {"storage": Spec(n), "adapter": Spec(next(iter(ADAPTERS)))} for n in STORAGES}
    return adapters | optims | storages


@pytest.mark.slow
@pytest.mark.parametrize("name", works())
def test_a_step_is_foretold(name: str) -> None:
    memory = memory_of(Work(recipe=MODEL, rows=1, length=32, **works()[name]))
    assert {"load", "loss", "backward", "step"} <= set(memory.phases)
    assert memory.phases["step"]["gradients"] > 0
    gc.collect()
    left = [tensor for tensor in gc.get_objects() if type(tensor) is FakeTensor]
    assert not left, "a cache that outlives the step would be read by real runs"
