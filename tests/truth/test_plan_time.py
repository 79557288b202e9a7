"""Seconds from rates: published cases, and rates of this machine against a product of another size."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
import torch

from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.models import Recipe
from danlu.nn.dims import Dims
from danlu.plan import Memory, Work, parameters
from danlu.plan.devices import DEVICES, Device, bytes_of, device
from danlu.plan.roofline import Bound, decode_seconds, moved_bytes, step_operations, step_seconds, training_operations

KEPT = Memory({"loss": {"activations: attention": 3 << 20, "activations: ffn": 5 << 20, "weights": 9 << 20}})


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
        step_seconds(Work(recipe=recipe, rows=4, length=512, recompute=r), DEVICES["a100"], KEPT)
        for r in ("none", "blocks")
    )
    assert plain[0] < plain[1] < again[1]
    assert again[0] / plain[0] < 4 / 3 + 0.01
    twice = step_seconds(Work(recipe=recipe, rows=4, length=512, micros=2), DEVICES["a100"], KEPT)
    assert 1.8 < twice[0] / plain[0] <= 2


def test_windows_make_attention_cheaper() -> None:
    dims = Dims(vocab=100, model=64, heads=4, layers=2, context=4096)
    whole, near = (
        Work(recipe=Recipe(dims=dims, masks=m), rows=1, length=4096)
        for m in ((Spec("causal"),), (Spec("both", {"a": "causal", "b": {"use": "window", "size": 64}}),))
    )
    assert step_seconds(near, DEVICES["l4"], KEPT) < step_seconds(whole, DEVICES["l4"], KEPT)


def test_an_unknown_device_names_the_known() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'h100'.*a100, a100-40, .*h100, h100-pcie, h200"):
        device("h10")


@pytest.mark.parametrize("said", ["rtx4090", "RTX 4090", "GeForce RTX 4090", "rtx_4090"])
def test_a_device_by_any_of_its_spellings(said: str) -> None:
    assert device(said) is DEVICES["rtx4090"]


def test_a_size_is_a_device_of_which_only_the_memory_is_known() -> None:
    some = device("24GiB")
    assert (some.memory, some.timed, some.place) == (24 * 2**30, False, "cuda")
    assert device("0.5 GB").memory == 5e8
    for wrong in ("GiB", "0GiB", "24 apples", "1.2.3GiB", "-1GiB"):
        with pytest.raises(ConfigError, match="size like 24GiB"):
            bytes_of(wrong)


def test_data_sheets_are_plausible() -> None:
    """Dense rates: 16 bit at least as fast as tf32, that as fp32; more than a byte per 1,000 FLOP of fp32."""
    for name, sheet in DEVICES.items():
        assert sheet.rate("bf16") >= sheet.rate("tf32") >= sheet.rate("fp32") > 1e12, name
        assert 2**33 < sheet.memory < 2**38, name
        assert 5 < sheet.rate("fp32") / sheet.bandwidth < 110, name


def test_decoding_is_memory_bound_and_products_are_not() -> None:
    """A token of one row reads each weight of two bytes for two FLOPs; a 4,096³ product reads each number thousands
    of times."""
    h100 = DEVICES["h100"]
    told = {"rate": h100.rate("bf16"), "bandwidth": h100.bandwidth}
    decode = Bound(flops=2 * 7e9, bytes_=2 * 7e9, **told)
    assert (decode.intensity, decode.by) == (1, "memory")
    assert decode.seconds == decode_seconds(2 * 7e9, h100)
    product = Bound(flops=2 * 4096**3, bytes_=3 * 2 * 4096**2, **told)
    assert product.by == "compute"
    assert product.ridge == pytest.approx(295, rel=0.01)
    assert Bound(flops=2 * 7e9 * 300, bytes_=2 * 7e9, **told).by == "compute"


def test_what_a_step_moves() -> None:
    """Weights forward and back and once more for recomputed blocks, what is kept six times, logits, AdamW's update."""
    recipe = Recipe(dims=Dims(vocab=1000, model=64, heads=4, layers=2, context=64))
    work = Work(recipe=recipe, rows=2, length=64, micros=3)
    trains, logits = parameters(recipe).total, 8 * 128 * 1000
    assert moved_bytes(work, KEPT) == 3 * (6 * (8 << 20) + 2 * (9 << 20) + logits) + 28 * trains
    twice = moved_bytes(replace(work, recompute="blocks"), KEPT)
    assert twice - moved_bytes(work, KEPT) == 3 * (9 << 20)


def test_lora_needs_no_gradient_of_frozen_weights() -> None:
    """q and v of two layers at rank 4: two forwards, three of the scores, and six FLOPs a number of the adapter."""
    recipe = Recipe(dims=Dims(vocab=1000, model=256, heads=4, layers=2, context=512))
    full = Work(recipe=recipe, rows=2, length=128, micros=3)
    lora = replace(full, adapter=Spec("lora", {"rank": 4, "at": "blocks.*.{q,v}"}))
    done, trains = step_operations(full), 2 * 2 * 4 * (256 + 256)
    assert training_operations(full) == 3 * done.forward
    assert training_operations(lora) == 2 * (done.linear + done.head) + 3 * done.scores + 6 * trains * 2 * 128 * 3
    again = replace(lora, recompute="blocks")
    assert training_operations(again) == training_operations(lora) + done.linear + done.scores


def _timed(a: torch.Tensor, b: torch.Tensor) -> float:
    start = time.perf_counter()
    a @ b
    return time.perf_counter() - start
