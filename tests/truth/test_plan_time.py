"""Seconds from rates: published cases, and rates of this machine against a product of another size."""

from __future__ import annotations

import time

import pytest
import torch

from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.models import Recipe
from danlu.nn.dims import Dims
from danlu.plan import Work
from danlu.plan.devices import DEVICES, Device, device
from danlu.plan.roofline import decode_seconds, step_seconds


def test_a_decoding_step_of_llama_70b_on_8_tpus() -> None:
    """The scaling book's case: 70 GB of int8 weights and 41.9 GB of cache over 8 · 810 GB/s."""
    tpus = Device(name="8 TPU v5e", memory=8 * 16e9, bandwidth=8 * 810e9, matmul={"fp32": 1e12})
    assert decode_seconds(70e9 + 41.9e9, tpus) == pytest.approx(17e-3, rel=0.03)


def test_ridge_of_an_h100_and_an_unlisted_precision() -> None:
    h100 = DEVICES["h100"]
    assert h100.rate("bf16") / h100.bandwidth == pytest.approx(295, rel=0.01)
    assert DEVICES["v100"].rate("tf32") == 15.7e12


def test_this_machine_multiplies_as_fast_as_it_says() -> None:
    here = device()
    a = torch.randn(512, 1024)
    b = torch.randn(1024, 1536)
    a @ b
    best = min(_timed(a, b) for _ in range(5))
    predicted = 2 * 512 * 1024 * 1536 / here.rate("fp32")
    assert predicted / 3 < best < predicted * 3
    assert here.memory > 2**30
    assert 1e8 < here.bandwidth < 1e13


def test_a_recomputed_step_takes_longer_and_a_band_is_ordered() -> None:
    recipe = Recipe(dims=Dims(vocab=1000, model=256, heads=4, layers=8, context=512))
    plain, again = (
        step_seconds(Work(recipe=recipe, rows=4, length=512, recompute=r), DEVICES["a100"]) for r in (False, True)
    )
    assert plain[0] < plain[1] < again[1]
    assert again[0] / plain[0] < 4 / 3 + 0.01
    twice = step_seconds(Work(recipe=recipe, rows=4, length=512, micros=2), DEVICES["a100"])
    assert 1.8 < twice[0] / plain[0] <= 2


def test_windows_make_attention_cheaper() -> None:
    dims = Dims(vocab=100, model=64, heads=4, layers=2, context=4096)
    whole, near = (
        Work(recipe=Recipe(dims=dims, masks=m), rows=1, length=4096)
        for m in ((Spec("causal"),), (Spec("both", {"a": "causal", "b": {"use": "window", "size": 64}}),))
    )
    assert step_seconds(near, DEVICES["l4"]) < step_seconds(whole, DEVICES["l4"])


def test_an_unknown_device_names_the_known() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'h100'.*a100, a100-40, h100, h200"):
        device("h10")


def _timed(a: torch.Tensor, b: torch.Tensor) -> float:
    start = time.perf_counter()
    a @ b
    return time.perf_counter() - start
