"""Storages against bitsandbytes' CPU build, and directories against transformers, which reads and writes its layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from talkers import small_model
from torch import Tensor

import danlu
from danlu import models
from danlu.nn.storages import STORAGES, Stored, store
from danlu.quant.dynamic import decode, dynamic, encode

transformers = pytest.importorskip("transformers")
bitsandbytes = pytest.importorskip("bitsandbytes")
functional = bitsandbytes.functional
AXES = ("out", "in")
SHAPES = [(1, 1), (3, 37), (64, 64), (128, 768), (1500, 1026)]  # blocks cut off, an odd count, more than one piece
four_bit = pytest.mark.parametrize("name", ["nf4", "fp4"])


def bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().view(torch.uint8)


def weights(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    made = torch.randn(shape) * 0.02
    made[0, :5] = 0
    return made.to(dtype)


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("signed", [True, False])
def test_the_map_of_constants(signed: bool) -> None:
    assert torch.equal(torch.tensor(dynamic(signed=signed)), functional.create_dynamic_map(signed))


@pytest.mark.parametrize("count", [1, 255, 256, 257, 400_000])
def test_constants_in_8_bits(count: int) -> None:
    torch.manual_seed(count)
    code, values = torch.tensor(dynamic()), torch.randn(count).abs() + 3
    for numbers in (values - values.mean(), torch.zeros(count), code[torch.randint(256, (count,))]):
        places, largest = encode(numbers, code, 256)
        theirs, state = functional.quantize_blockwise(numbers, blocksize=256)
        assert torch.equal(places, theirs)
        assert torch.equal(largest, state.absmax)
        assert torch.equal(decode(places, code, largest, 256), functional.dequantize_blockwise(theirs, state))


@four_bit
@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("block", [32, 64, 128, 1024, 4096])
def test_four_bits_are_its_bits(name: str, block: int, dtype: torch.dtype, double: bool) -> None:
    for shape in SHAPES:
        weight = weights(shape, dtype)
        part = STORAGES[name](block=block, double=double).keep(weight, None, AXES)
        packed, state = functional.quantize_4bit(weight, blocksize=block, compress_statistics=double, quant_type=name)
        theirs = {"weight": packed, **{f"weight.{key}": value for key, value in state.as_dict(packed=True).items()}}
        ours = part.tensors()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
        constants = state.absmax
        if double:
            constants = functional.dequantize_blockwise(state.absmax, state.state2) + state.offset
        _same_values(part, name, packed, constants, block)


def _same_values(part: Any, name: str, packed: Tensor, constants: Tensor, block: int) -> None:
    """In one row, because bitsandbytes compiles for odd ones."""
    count = part.out_features * part.in_features
    row = (1, count + count % 2)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        theirs = torch.ops.bitsandbytes.dequantize_4bit.default(packed, constants, block, name, row, dtype)
        ours = torch.cat([rows.clone() for _, rows in part.pieces(dtype, 1 << 20)])
        assert torch.equal(bits(ours.flatten()), bits(theirs.flatten()[:count]))


def test_nf4_is_the_codebook_of_the_paper(shared: Path) -> None:
    import json

    values = json.loads((shared / "theory" / "nf4.json").read_text())["nf4"]
    assert torch.equal(torch.tensor(STORAGES["nf4"].code), torch.tensor(values))  # type: ignore[attr-defined]


def test_nf4_with_double_quantization_takes_4_127_bits() -> None:
    part = STORAGES["nf4"]().keep(torch.randn(4096, 4096), None, AXES)
    constants = part.nested_code.nbytes  # type: ignore[union-attr]  (one table, however large the weight)
    held = sum(tensor.nbytes for tensor in part.state_dict().values()) - constants
    assert held * 8 / 4096**2 == pytest.approx(4.127, abs=5e-4)


@pytest.mark.parametrize("shape", [(64, 64), (128, 770)])
def test_int8_is_its_int8(shape: tuple[int, int]) -> None:
    weight = weights(shape, torch.float16)
    part = STORAGES["llm_int8"]().keep(weight, None, AXES)
    numbers, scale, _ = functional.int8_vectorwise_quant(weight)
    assert torch.equal(part.tensors()["weight"], numbers)
    assert torch.equal(part.tensors()["SCB"], scale)
    assert torch.equal(bits(part.dense()), bits(functional.int8_vectorwise_dequant(numbers, scale)))


# ── maps ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
@four_bit
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_map_answers_as_linear4bit(name: str, dtype: torch.dtype) -> None:
    weight, bias = weights((128, 256)), torch.randn(128)
    part = STORAGES[name](compute="fp32" if dtype is torch.float32 else "bf16").keep(weight, bias, AXES)
    theirs = bitsandbytes.nn.Linear4bit(256, 128, compute_dtype=dtype, quant_type=name)
    theirs.weight = bitsandbytes.nn.Params4bit(weight.clone(), requires_grad=False, quant_type=name)
    theirs.bias = torch.nn.Parameter(bias.clone())
    theirs = theirs.to("cpu")
    x = torch.randn(2, 7, 256, requires_grad=True)
    twin = x.detach().clone().requires_grad_()
    y, expected = part(x), theirs(twin)
    pull = torch.randn_like(y)
    y.backward(pull)
    expected.backward(pull)
    error = 1e-5 if dtype is torch.float32 else 0.03
    assert y.dtype == expected.dtype
    assert torch.allclose(y, expected, atol=error)
    assert x.grad is not None
    assert twin.grad is not None
    assert torch.allclose(x.grad, twin.grad, atol=error)


# ── directories ──────────────────────────────────────────────────────────────────────────────────────────────────────
TOKENS = torch.arange(12)[None]


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom"])
@four_bit
def test_transformers_opens_ours_with_equal_logits(name: str, family: str, tmp_path: Path) -> None:
    model = small_model(family, model=64)
    store(model, STORAGES[name]())
    folder = danlu.save(model, None, tmp_path / "ours")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    kinds = {type(part).__name__ for part in theirs.modules()}
    assert "Linear4bit" in kinds
    assert torch.allclose(theirs(TOKENS).logits, model(TOKENS), atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom"])
@pytest.mark.parametrize("double", [True, False])
@four_bit
def test_ours_opens_what_transformers_saves(name: str, double: bool, family: str, tmp_path: Path) -> None:
    theirs, folder = _quantized(
        family, tmp_path, load_in_4bit=True, bnb_4bit_quant_type=name, bnb_4bit_use_double_quant=double
    )
    ours, _ = danlu.load(folder)
    assert any(isinstance(part, Stored) for part in ours.modules())
    assert torch.allclose(ours(TOKENS), theirs(TOKENS).logits, atol=1e-4)
    again = danlu.save(ours, None, tmp_path / "again")
    reopened = transformers.AutoModelForCausalLM.from_pretrained(again).eval()
    assert torch.allclose(reopened(TOKENS).logits, theirs(TOKENS).logits, atol=1e-4)


def test_bytes_kept_as_another_dtype_are_bytes(tmp_path: Path) -> None:
    theirs, folder = _quantized("llama", tmp_path, load_in_4bit=True, bnb_4bit_quant_storage=torch.bfloat16)
    ours, _ = danlu.load(folder)
    assert torch.allclose(ours(TOKENS), theirs(TOKENS).logits, atol=1e-4)


def test_compute_in_bf16_is_kept(tmp_path: Path) -> None:
    settings = {"bnb_4bit_compute_dtype": torch.bfloat16, "bnb_4bit_quant_type": "nf4"}
    theirs, folder = _quantized("llama", tmp_path, load_in_4bit=True, **settings)
    ours, _ = danlu.load(folder)
    logits, expected = ours(TOKENS), theirs(TOKENS).logits
    assert torch.cosine_similarity(logits.flatten(), expected.flatten(), 0) > 0.999
    said = models.config_of(ours)["quantization_config"]
    assert said["bnb_4bit_compute_dtype"] == "bfloat16"


def test_int8_directories_hold_the_same_weights(tmp_path: Path) -> None:
    """transformers' int8 product rounds activations too, so the answers are near, and the weights the same."""
    theirs, folder = _quantized("llama", tmp_path, load_in_8bit=True)
    ours, _ = danlu.load(folder)
    mine = ours.get_submodule("blocks.0.sublayers.attention.q").tensors()  # type: ignore[operator]
    weight = theirs.model.layers[0].self_attn.q_proj.weight
    assert torch.equal(mine["weight"], weight.data)
    again = danlu.save(ours, None, tmp_path / "again")
    reopened = transformers.AutoModelForCausalLM.from_pretrained(again).eval()
    logits = ours(TOKENS).flatten()
    for other in (theirs, reopened):
        assert torch.cosine_similarity(other(TOKENS).logits.float().flatten(), logits, 0) > 0.98


def test_maps_left_plain_stay_plain(tmp_path: Path) -> None:
    theirs, folder = _quantized("llama", tmp_path, load_in_4bit=True, llm_int8_skip_modules=["lm_head", "down_proj"])
    ours, _ = danlu.load(folder)
    stored = {name.rpartition(".")[2] for name, part in ours.named_modules() if isinstance(part, Stored)}
    assert stored == {"q", "k", "v", "o", "gate", "up"}
    assert torch.allclose(ours(TOKENS), theirs(TOKENS).logits, atol=1e-4)
    again = danlu.save(ours, None, tmp_path / "again")
    reopened = transformers.AutoModelForCausalLM.from_pretrained(again).eval()
    assert torch.allclose(reopened(TOKENS).logits, theirs(TOKENS).logits, atol=1e-4)


def _quantized(family: str, folder: Path, **settings: Any) -> tuple[Any, Path]:
    """A model that transformers quantized, and the directory it saved."""
    plain = models.save(small_model(family, model=64), None, folder / "plain")
    config = transformers.BitsAndBytesConfig(**settings)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(plain, quantization_config=config).eval()
    theirs.save_pretrained(folder / "theirs")
    return theirs, folder / "theirs"
