"""Maps that read the same tensor are one product, also where they are kept in a storage: in place, with equal answers."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from talkers import small_model

import danlu
from danlu.core.spec import Spec
from danlu.infer.packed import Part, Prepared, packed
from danlu.nn.sites import Adapted
from danlu.nn.storages import STORAGES, Stored, side_by_side, store
from danlu.peft.attached import attach

TOKENS = torch.arange(9)[None]


@pytest.mark.parametrize(
    "spec", [{"use": "int8"}, {"use": "int4"}, {"use": "int8", "group": 64}, {"use": "w8a8"}], ids=str
)
@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
def test_maps_of_one_tensor_are_one_product(spec: dict[str, object], family: str, tmp_path: Path) -> None:
    model = small_model(family, model=64)
    store(model, Spec.read(spec).build(STORAGES))
    plain = copy.deepcopy(model)
    expected = model(TOKENS)
    before = danlu.save(model, None, tmp_path / "before")
    twin, products = packed(model, 1)
    joined = [product for product in products if isinstance(product.map, Stored)]
    each = 1 if family == "gpt2" else 2
    assert len(joined) == 3 * each
    assert sum(isinstance(part, Part) for part in twin.modules()) == sum(len(product.sizes) for product in products)
    for one in (twin, model):
        assert torch.allclose(one(TOKENS), expected, atol=1e-5)
        assert torch.allclose(one(TOKENS[:, :1]), plain(TOKENS[:, :1]), atol=1e-5)
    whole = joined[0].map
    assert isinstance(whole, Stored)
    memory = {tensor.untyped_storage().data_ptr() for tensor in whole.buffers()}
    attention = model.get_submodule("blocks.0.sublayers.attention")
    for name in ("q", "k", "v"):
        assert {t.untyped_storage().data_ptr() for t in attention.get_submodule(name).buffers()} == memory
    after = danlu.save(model, None, tmp_path / "after")
    first, second = (load_file(folder / "model.safetensors") for folder in (before, after))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_biases_are_joined() -> None:
    torch.manual_seed(0)
    kind = STORAGES["int8"]()
    parts = [kind.keep(torch.randn(8, 32), bias, ("a", "b")) for bias in (torch.randn(8), None, torch.randn(8))]
    x = torch.randn(2, 32)
    expected = torch.cat([part(x) for part in parts], -1)
    whole = side_by_side(parts)
    assert whole is not None
    assert torch.allclose(whole(x), expected, atol=1e-6)
    assert torch.allclose(torch.cat([part(x) for part in parts], -1), expected, atol=1e-6)


@pytest.mark.parametrize(
    "ways",
    [
        ({"use": "int8"}, {"use": "int8", "group": 32}), ({"use": "int8"}, {"use": "int4"}), ({"use": "nf4"}, {"use": "nf4"}),
        ({"use": "llm_int8"}, {"use": "llm_int8"}), ({"use": "bf16"}, {"use": "bf16"}), ({"use": "int8"}, {"use": "w8a8"}),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_not_kept_alike_stays_apart(ways: tuple[dict[str, object], ...]) -> None:
    parts = [Spec.read(way).build(STORAGES).keep(torch.randn(64, 64), None, ("a", "b")) for way in ways]
    before = [part.dense().clone() for part in parts]
    assert side_by_side(parts) is None
    assert all(torch.equal(part.dense(), weight) for part, weight in zip(parts, before, strict=True))


def test_adapters_act_on_what_is_joined() -> None:
    model = small_model(model=64)
    store(model, STORAGES["int4"]())
    attach(model, Spec.read({"use": "lora", "rank": 2}))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    expected = model(TOKENS)
    twin = Prepared(model).serving(1, 100)
    assert twin is not model
    assert any(isinstance(part, Adapted) and isinstance(part.origin, Part) for part in twin.modules())
    with torch.inference_mode():
        assert torch.allclose(twin(TOKENS), expected, atol=1e-4)
