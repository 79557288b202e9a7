"""Directories of whole numbers against transformers and compressed-tensors, which read and write their layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from talkers import small_model

import danlu
from danlu import models
from danlu.core.spec import Spec
from danlu.nn.storages import STORAGES, Stored, store

transformers = pytest.importorskip("transformers")
compressed = pytest.importorskip("compressed_tensors")

TOKENS = torch.arange(12)[None]
KEPT = [
    {"use": "int8"}, {"use": "int8", "group": 32}, {"use": "int4"}, {"use": "int4", "group": 64},
    {"use": "int4", "group": None}, {"use": "w8a8"},
]  # fmt: skip
everyway = pytest.mark.parametrize("spec", KEPT, ids=str)
pytestmark = pytest.mark.filterwarnings("default")  # the libraries' own


def ours(spec: dict[str, Any], family: str = "llama", dtype: torch.dtype = torch.float32) -> Any:
    model = small_model(family, model=64).to(dtype)
    store(model, Spec.read(spec).build(STORAGES))
    return model


def opened(folder: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder).eval()


@everyway
@pytest.mark.parametrize("family", ["llama", "qwen3", "bloom"])
def test_transformers_opens_ours_with_equal_logits(spec: dict[str, Any], family: str, tmp_path: Path) -> None:
    model = ours(spec, family)
    theirs = opened(danlu.save(model, None, tmp_path / "ours"))
    schemes = [part for part in theirs.modules() if getattr(part, "quantization_scheme", None)]
    assert len(schemes) == len({id(part) for part in model.modules() if isinstance(part, Stored)}) - _fused(family)
    expected, logits = model(TOKENS), theirs(TOKENS).logits
    if spec["use"] == "w8a8":  # the largest of a token is halfway between two numbers, and may go either way
        assert torch.cosine_similarity(logits.flatten(), expected.flatten(), 0) > 0.999
    else:
        assert torch.allclose(logits, expected, atol=1e-4)


def _fused(family: str) -> int:
    """How many of our maps lie in others' in files: of each of three blocks, two."""
    return 6 if family == "bloom" else 0


@everyway
def test_weights_are_the_same_numbers_in_bf16(spec: dict[str, Any], tmp_path: Path) -> None:
    model = ours(spec, dtype=torch.bfloat16)
    folder = danlu.save(model, None, tmp_path / "ours")
    theirs = opened(folder)
    theirs(TOKENS)  # the library makes full weights at the first call
    again, _ = danlu.load(folder)
    part = again.get_submodule("blocks.0.sublayers.ffn.down")
    weight = theirs.model.layers[0].mlp.down_proj.weight
    assert torch.equal(part.dense().bfloat16(), weight)  # type: ignore[operator]
    assert torch.equal(part.dense(), model.get_submodule("blocks.0.sublayers.ffn.down").dense())  # type: ignore[operator]


@pytest.mark.parametrize(("bits", "use"), [(4, "int4"), (8, "int8")])
@pytest.mark.parametrize("group", [32, None])
def test_zeros_are_read_and_written_as_theirs(bits: int, use: str, group: int | None) -> None:
    """Tensor by tensor: transformers 5.23 makes no room for packed zeros."""
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.utils import calculate_qparams

    torch.manual_seed(0)
    strategy = {"strategy": "group", "group_size": group} if group else {"strategy": "channel"}
    scheme = QuantizationScheme(
        targets=["Linear"], weights=QuantizationArgs(num_bits=bits, symmetric=False, **strategy)
    )
    library = BaseCompressor.get_value_from_registry("pack-quantized")
    weight = torch.rand(24, 64)
    storage = STORAGES[use](group=group, zero=True)
    part = storage.keep(weight, None, ("a", "b"))
    assert torch.equal(library.decompress(part.tensors(), scheme)["weight"].float(), part.dense().to(torch.bfloat16))
    groups = weight.unflatten(1, (part.scale.shape[1], -1))  # type: ignore[arg-type]
    scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), scheme.weights)
    theirs = library.compress(
        {"weight": weight, "weight_scale": scale, "weight_zero_point": zero.to(torch.int8)}, scheme
    )
    again = storage.restore(theirs, None, ("a", "b"))  # type: ignore[attr-defined]
    assert torch.allclose(again.dense(), library.decompress(theirs, scheme)["weight"], atol=1e-6)
    assert again.tensors().keys() == theirs.keys()
    assert all(torch.equal(again.tensors()[key].to(theirs[key].dtype), theirs[key]) for key in theirs)


@everyway
def test_maps_answer_as_theirs_do(spec: dict[str, Any], tmp_path: Path) -> None:
    """Activations that are rounded, too: in one map, what is rounded otherwise does not add up."""
    model = ours(spec)
    theirs = opened(danlu.save(model, None, tmp_path / "ours"))
    theirs(TOKENS)  # the library makes full weights at the first call
    x = torch.randn(1, 5, 64)  # the library finds tokens by their place among the sides
    mine = model.get_submodule("blocks.1.sublayers.attention.q")(x)
    assert torch.allclose(mine, theirs.model.layers[1].self_attn.q_proj(x), rtol=1e-4, atol=1e-4)


FOREIGN = [
    {"num_bits": 8, "strategy": "channel"}, {"num_bits": 8, "strategy": "group", "group_size": 32},
    {"num_bits": 4, "strategy": "group", "group_size": 32}, {"num_bits": 4, "strategy": "channel"},
]  # fmt: skip


@pytest.mark.parametrize(("weights", "tokens"), [*((one, False) for one in FOREIGN), (FOREIGN[0], True)], ids=str)
def test_ours_opens_what_the_library_writes(weights: dict[str, Any], tokens: bool, tmp_path: Path) -> None:
    theirs, folder = _compressed(weights, tokens, tmp_path)
    model, _ = danlu.load(folder)
    parts = [part for part in model.modules() if isinstance(part, Stored)]
    assert len(parts) == 20  # down of one block was left plain
    expected = theirs(TOKENS).logits
    near = {"rtol": 0.05, "atol": 0.5} if tokens else {"atol": 1e-4}
    assert torch.allclose(model(TOKENS), expected, **near)
    again = danlu.save(model, None, tmp_path / "again")
    ignored = json.loads((again / "config.json").read_text())["quantization_config"]["ignore"]
    assert ignored == ["lm_head", "model.layers.1.mlp.down_proj"]
    first, second = (load_file(place / "model.safetensors") for place in (folder, again))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key].float(), second[key].float()) for key in first)
    assert torch.allclose(opened(again)(TOKENS).logits, expected, atol=1e-4)


def _compressed(weights: dict[str, Any], tokens: bool, folder: Path) -> tuple[Any, Path]:
    """A model that compressed-tensors quantized with its own grid, and the directory it saved."""
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization import (
        QuantizationArgs,
        QuantizationConfig,
        QuantizationScheme,
        QuantizationStatus,
        apply_quantization_config,
    )
    from compressed_tensors.quantization.utils import calculate_qparams

    theirs = opened(models.save(small_model(model=64), None, folder / "plain"))
    read = QuantizationArgs(num_bits=8, strategy="token", dynamic=True) if tokens else None
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**weights), input_activations=read)
    config = QuantizationConfig(
        config_groups={"group_0": scheme}, ignore=["lm_head", "model.layers.1.mlp.down_proj"],
        format="int-quantized" if tokens else "pack-quantized",
    )  # fmt: skip
    apply_quantization_config(theirs, config)
    for part in theirs.modules():
        if getattr(part, "quantization_scheme", None):
            groups = part.weight.unflatten(1, (part.weight_scale.shape[1], -1))
            scale, _ = calculate_qparams(groups.amin(-1), groups.amax(-1), part.quantization_scheme.weights)
            part.weight_scale.data.copy_(scale)
            part.quantization_status = QuantizationStatus.FROZEN
    compressor = ModelCompressor.from_pretrained_model(theirs)
    compressor.compress_model(theirs)
    theirs.save_pretrained(folder / "theirs")
    compressor.update_config(folder / "theirs")
    return opened(folder / "theirs"), folder / "theirs"
