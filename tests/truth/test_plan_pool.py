"""The plan's figure of a cache of keys and values is what the engine's pool and the caches of rows take."""

from __future__ import annotations

import pytest
import torch
from talkers import small_model

from danlu.infer.settings import EngineSettings
from danlu.nn.caches.int8 import Int8
from danlu.nn.caches.kivi import Kivi
from danlu.nn.caches.paged import Paged
from danlu.nn.caches.sliding import Sliding
from danlu.plan.kv import kv_bytes, rounded_kv_bytes

SHAPES = [{"kv_heads": 2}, {"kv_heads": 1, "model": 64, "heads": 2, "layers": 4}]
MODES = [
    ("plain", torch.float32, {"bytes_each": 4}),
    ("plain", torch.bfloat16, {"bytes_each": 2}),
    ("int8", torch.float32, {"bytes_each": 1, "constants": 4}),
    ("int8", torch.bfloat16, {"bytes_each": 1, "constants": 4}),
]


def sizes(model) -> dict[str, int]:
    return {"layers": model.dims.layers, "kv_heads": model.dims.kv_heads, "head": model.dims.head}


def taken(pages) -> int:
    """What lies in memory: every tensor that is to be found in it."""
    held = [x for part in (pages, getattr(pages, "fresh", None)) for x in (vars(part).values() if part else ())]
    held += [x for group in held if isinstance(group, dict) for x in group.values()]
    return sum(x.untyped_storage().nbytes() for x in held if isinstance(x, torch.Tensor) and x.dtype != torch.long)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("cache", "dtype", "each"), MODES, ids=str)
@pytest.mark.parametrize("block", [4, 16])
def test_the_pool_takes_what_is_planned(shape, cache, dtype, each, block) -> None:
    model = small_model(**shape).to(dtype)
    settings = EngineSettings(rows=3, block=block, cache=cache)
    pages = settings.pages(model, settings.blocks(model))
    assert taken(pages) == pages.bytes_ == kv_bytes(**sizes(model), tokens=pages.blocks * block, **each)
    assert pages.blocks == 3 * (96 // block + 1)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize(("block", "whole", "dtype"), [(8, 20, torch.float32), (16, 32, torch.bfloat16)], ids=str)
def test_a_rounded_pool_takes_what_is_planned(shape, bits, block, whole, dtype) -> None:
    model = small_model(**shape).to(dtype)
    settings = EngineSettings(rows=3, budget=40, block=block, cache={"use": "kivi", "bits": bits, "whole": whole})
    pages = settings.pages(model, settings.blocks(model))
    expected = rounded_kv_bytes(
        **sizes(model), tokens=pages.blocks * block, bits=bits, block=block, rows=3, fed=40, whole=whole,
        bytes_each=dtype.itemsize,
    )  # fmt: skip
    assert taken(pages) == pages.bytes_ == expected


@pytest.mark.parametrize("cache", ["plain", "int8", {"use": "kivi", "whole": 8}], ids=str)
def test_a_pool_keeps_to_its_limit(cache) -> None:
    model = small_model(kv_heads=2)
    settings = EngineSettings(rows=3, budget=16, block=4, cache=cache)
    all_of_it = settings.pages(model, settings.blocks(model)).bytes_
    for share in (0.9, 0.8):
        limited = EngineSettings(rows=3, budget=16, block=4, cache=cache, cache_bytes=int(share * all_of_it))
        count = limited.blocks(model)
        assert limited.pages(model, count).bytes_ <= share * all_of_it < limited.pages(model, count + 1).bytes_


def test_caches_of_rows_take_what_is_planned() -> None:
    model = small_model(kv_heads=2)
    dims, each = model.dims, sizes(model)
    assert Paged(dims, 3, 64).bytes_ == kv_bytes(**each, tokens=64, rows=3)
    assert Int8(dims, 3, 64).bytes_ == kv_bytes(**each, tokens=64, rows=3, bytes_each=1, constants=4)
    assert Sliding(dims, 3, 640, window=32).bytes_ == kv_bytes(**each, tokens=640, rows=3, window=32 + 16)
    assert Kivi(dims, 3, 640, bits=4).bytes_ == rounded_kv_bytes(**each, tokens=3 * 640, bits=4, rows=3)
