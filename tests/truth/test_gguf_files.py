"""GGUF files: what is written is what the package gguf reads, tensor by tensor; Q4_K by hand and by bounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from gguf_models import KINDS, small, written
from talkers import small_tokenizer

import danlu
from danlu.core.gguf import Planned, opened, write
from danlu.models.gguf import q4_k
from danlu.nn.storages import STORAGES
from danlu.tokenize import Tokenizer

gguf = pytest.importorskip("gguf")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return small_tokenizer(tmp_path_factory.mktemp("gguf"))


FIELDS = {
    "text": "丹炉", "yes": True, "no": False, "count": 7, "share": 0.25, "names": ["a", "", "你"],
    "numbers": [1, -2, 3], "scores": [0.5, -1.0], "bytes": b"\x00\xff",
}  # fmt: skip


def test_header_is_read_as_the_package_reads_it(tmp_path: Path) -> None:
    file, rows = tmp_path / "x.gguf", np.arange(96, dtype=np.float32).reshape(3, 32)
    plan = {"whole": Planned((3, 32), "F32"), "half": Planned((3, 32), "F16"), "eight": Planned((3, 32), "Q8_0")}
    packed = [rows, rows.astype(np.float16), gguf.quants.quantize(rows, gguf.GGMLQuantizationType.Q8_0)]
    write(file, "llama", FIELDS, plan, iter(packed))
    reader = gguf.GGUFReader(file)
    with opened(file) as found:
        for key, value in FIELDS.items():
            assert found.fields[key] == (list(value) if isinstance(value, bytes) else value)
            assert found.fields[key] == reader.fields[key].contents()
        assert list(found.tensors) == [tensor.name for tensor in reader.tensors] == list(plan)
        for tensor in reader.tensors:
            theirs = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            np.testing.assert_array_equal(found.read(tensor.name), theirs)
        np.testing.assert_array_equal(found.read("whole"), rows)


@pytest.mark.parametrize(
    "kind", [t for t in gguf.GGMLQuantizationType if t.name in ("Q6_K", "Q5_K", "Q5_0", "BF16", "Q2_K")]
)
def test_types_that_others_write_are_read(kind: gguf.GGMLQuantizationType, tmp_path: Path) -> None:
    file, plan = tmp_path / "x.gguf", {"t": Planned((2, 256), kind.name)}
    raw = np.random.default_rng(1).integers(0, 60, plan["t"].bytes_, dtype=np.uint8)
    write(file, "llama", {}, plan, iter([raw]))
    with opened(file) as found:
        np.testing.assert_array_equal(found.read("t"), gguf.quants.dequantize(raw, kind).astype(np.float32))


@pytest.mark.parametrize("use", KINDS)
def test_models_come_back_to_the_bit(use: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = small(use)
    again, spoken = danlu.load(str(written(model, tokenizer, tmp_path)))
    assert again.recipe == model.recipe
    assert spoken is not None
    assert spoken.stops == tokenizer.stops
    theirs = dict(again.named_parameters())
    assert all(torch.equal(weight, theirs[name]) for name, weight in model.named_parameters())


@pytest.mark.parametrize("use", KINDS)
def test_files_of_others_say_as_much(use: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Without danlu's own field the recipe is read off the fields of llama.cpp."""
    from danlu.models.gguf.architectures import ARCHITECTURES, fitting
    from danlu.models.gguf.fields import Fields

    model = small(use)
    with opened(written(model, tokenizer, tmp_path)) as file:
        found = ARCHITECTURES[fitting(model.recipe)]().read(Fields(file))
    wanted = ARCHITECTURES[fitting(model.recipe)]()
    assert wanted.fields(found) == wanted.fields(model.recipe)
    assert [entry.name for entry in wanted.entries(found)] == [entry.name for entry in wanted.entries(model.recipe)]


def test_the_divisors_of_llama_3_are_recognized(tokenizer: Tokenizer, tmp_path: Path) -> None:
    from danlu.models.gguf.architectures.llama import Llama
    from danlu.models.gguf.fields import Fields

    scaling = {"use": "llama3", "factor": 8.0}
    model = small("llama", position={"use": "rope", "base": 5e5, "scaling": scaling}, head=32)
    with opened(written(model, tokenizer, tmp_path)) as file:
        assert file.tensors["rope_freqs.weight"].shape == (16,)
        found = Llama().read(Fields(file)).position
    assert found.settings["scaling"] == scaling


def test_maps_are_quantized_while_they_are_read(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model, storage = small("llama", model=64), STORAGES["nf4"]()
    file = written(model, tokenizer, tmp_path)
    stored, _ = danlu.load(str(file), storage="nf4")
    up = model.get_parameter("blocks.1.sublayers.ffn.up.weight")
    kept = stored.get_submodule("blocks.1.sublayers.ffn.up")
    assert torch.equal(kept.dense(), storage.keep(up, None, ("ffn", "model")).dense())  # type: ignore[operator]


@pytest.mark.parametrize(("type_", "bits"), [("q8_0", 8.5), ("q4_0", 4.5), ("q4_k", 4.5)])
def test_a_matrix_takes_its_type_or_one_that_its_rows_fit(
    type_: str, bits: float, tokenizer: Tokenizer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = small("llama", model=256, heads=8, ffn=96, layers=1)
    with opened(written(model, tokenizer, tmp_path, type_)) as file:
        kinds = {name: gguf.GGMLQuantizationType(held.type).name for name, held in file.tensors.items()}
        up = file.tensors["blk.0.ffn_up.weight"]
    assert 8 * up.size / (96 * 256) == bits
    assert kinds["blk.0.attn_norm.weight"] == "F32"
    assert kinds["output.weight"] == "Q8_0"
    assert kinds["blk.0.ffn_down.weight"] == ("Q4_0" if type_ == "q4_k" else type_.upper())  # rows of 96
    assert ("1 matrices are no whole blocks of 256" in caplog.text) == (type_ == "q4_k")


def test_q4_k_by_hand() -> None:
    """Eight parts of whole steps of their scales: 6-bit scales 63 … and offsets in steps, nothing is rounded."""
    q = torch.arange(256).remainder(16).float().reshape(8, 32)
    scale, offset = torch.tensor([63.0, 9, 18, 27, 36, 45, 54, 1]) / 64, torch.tensor([63.0, 1, 2, 3, 4, 5, 6, 62]) / 32
    weight = (scale[:, None] * q - offset[:, None]).reshape(1, 256)
    packed = q4_k.pack(weight)
    assert packed.shape == (1, 144)
    back = gguf.quants.dequantize(packed.numpy(), gguf.GGMLQuantizationType.Q4_K)
    torch.testing.assert_close(torch.from_numpy(back), weight, atol=2e-3, rtol=0)


def test_q4_k_is_nearer_than_q4_0_and_never_far() -> None:
    weight = torch.randn(64, 512, generator=torch.Generator().manual_seed(3))
    back = torch.from_numpy(gguf.quants.dequantize(q4_k.pack(weight).numpy(), gguf.GGMLQuantizationType.Q4_K))
    kind = gguf.GGMLQuantizationType.Q4_0
    plain = torch.from_numpy(gguf.quants.dequantize(gguf.quants.quantize(weight.numpy(), kind), kind))
    assert (back - weight).square().mean() < 0.8 * (plain - weight).square().mean()
    spread = weight.reshape(-1, 32).amax(-1) - weight.reshape(-1, 32).amin(-1).clamp(max=0)
    assert ((back - weight).abs().reshape(-1, 32).amax(-1) < spread / 8).all()


@pytest.mark.parametrize("value", [0.0, -0.75, 3.0])
def test_q4_k_of_one_value(value: float) -> None:
    weight = torch.full((2, 256), value)
    back = torch.from_numpy(gguf.quants.dequantize(q4_k.pack(weight).numpy(), gguf.GGMLQuantizationType.Q4_K))
    torch.testing.assert_close(back, weight, rtol=2e-2, atol=1e-6)
