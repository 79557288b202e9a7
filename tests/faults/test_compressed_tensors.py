"""Directories of compressed-tensors that are damaged, or say what is not built: one sentence with the remedy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from talkers import small_model

import danlu
from danlu.core.errors import CheckpointError, DanluError
from danlu.core.spec import Spec
from danlu.nn.storages import STORAGES, store
from danlu.quant.scheme import Scheme

Q = "model.layers.0.self_attn.q_proj.weight"


def kept(folder: Path, spec: dict[str, Any]) -> Path:
    model = small_model(model=64)
    store(model, Spec.read(spec).build(STORAGES))
    return danlu.save(model, None, folder)


@pytest.mark.parametrize(
    ("use", "change", "said"),
    [
        (
            "int4",
            {f"{Q}_scale": None},
            r"q_proj.weight'.*int4 do not fit together \(KeyError\('weight_scale'\)\); fetch",
        ),
        ("int4", {f"{Q}_shape": None}, r"do not fit together \(KeyError\('weight_shape'\)\)"),
        ("int4", {f"{Q}_packed": None}, r"do not fit together \(KeyError\('weight_packed'\)\)"),
        ("int4", {f"{Q}_packed": torch.zeros(64, 7, dtype=torch.int32)}, r"words of torch.int32 and shape \[64, 7\]"),
        ("int4", {f"{Q}_packed": torch.zeros(64, 8)}, r"words of torch.float32"),
        ("int4", {f"{Q}_scale": torch.ones(64, 3)}, r"3 groups in rows of 64"),
        ("int4", {f"{Q}_scale": torch.ones(5)}, r"do not fit together"),
        ("int4", {f"{Q}_shape": torch.tensor([64, 48])}, r"words of torch.int32 and shape \[64, 8\] for .* \[64, 48\]"),
        ("w8a8", {f"{Q}_scale": torch.ones(63, 1)}, r"do not fit together"),
        ("w8a8", {Q: torch.zeros(64, 64)}, r"numbers of torch.float32"),
        ("w8a8", {Q: None}, r"KeyError"),
        ("int8", {"model.norm.weight_g_idx": torch.ones(2)}, r"weights hold 'model.norm.weight_g_idx'"),
    ],
)
def test_damaged_tensors_are_named(use: str, change: dict[str, torch.Tensor | None], said: str, tmp_path: Path) -> None:
    folder = kept(tmp_path / "base", {"use": use})
    tensors = load_file(folder / "model.safetensors") | {name: t for name, t in change.items() if t is not None}
    save_file({n: t for n, t in tensors.items() if change.get(n, t) is not None}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=said):
        danlu.load(folder)


def config(**changes: Any) -> dict[str, Any]:
    made = Scheme(4, 32, tokens=False).write(["lm_head"])
    group = made["config_groups"]["group_0"]
    for key, value in changes.items():
        (group["weights"] if key in group["weights"] else group if key in group else made)[key] = value
    return made


UNKNOWN = [
    config(symmetric=False, type="float"), config(type="float"), config(num_bits=2), config(strategy="block"),
    config(format="nvfp4-pack-quantized"), config(input_activations={"num_bits": 8, "dynamic": False}),
    config(input_activations={"num_bits": 8, "strategy": "token", "dynamic": True}), config(config_groups={}),
    config(sparsity_config={"format": "sparse-24-bitmask"}), config(transform_config={"R1": {}}),
    config(output_activations={"num_bits": 8}), config(weights=None), config(quant_method="gptq"), config(config_groups={"group_0": "Linear"}),
]  # fmt: skip


@pytest.mark.parametrize("said", UNKNOWN, ids=range(len(UNKNOWN)))
def test_what_is_not_built_is_refused(said: dict[str, Any], tmp_path: Path) -> None:
    folder = kept(tmp_path / "base", {"use": "int4"})
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"quantization_config": said}))
    with pytest.raises(CheckpointError, match="load the unquantized original"):
        danlu.load(folder)


def test_a_group_of_another_size_names_the_known(tmp_path: Path) -> None:
    folder = kept(tmp_path / "base", {"use": "int4"})
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"quantization_config": config(group_size=8)}))
    with pytest.raises(DanluError, match="group is one of 16, 32, 64, 128, 256"):
        danlu.load(folder)


def test_a_directory_that_transformers_would_misread_is_announced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """GPT-2's maps are no Linear there."""
    for use, said in (("int4", True), ("nf4", False)):
        caplog.clear()
        model = small_model("gpt2", model=64)
        store(model, STORAGES[use]())
        danlu.save(model, None, tmp_path / use)
        assert ("transformers fills it with random numbers; take nf4" in caplog.text) == said


def test_what_older_versions_say_beside_is_understood(tmp_path: Path) -> None:
    """llm-compressor wrote a sparsity that is none, and how the grid was found."""
    folder = kept(tmp_path / "base", {"use": "int4"})
    said = config(
        sparsity_config={"format": "dense", "global_sparsity": 0.1}, actorder="static", observer="minmax",
        quantization_status="frozen", global_compression_ratio=1.9, transform_config={},
    )  # fmt: skip
    said["config_groups"]["group_0"]["weights"] |= {"actorder": "weight", "block_structure": None, "observer": "mse"}
    file = folder / "config.json"
    expected, _ = danlu.load(folder)
    file.write_text(json.dumps(json.loads(file.read_text()) | {"quantization_config": said}))
    again, _ = danlu.load(folder)
    tokens = torch.arange(8)[None]
    assert torch.equal(again(tokens), expected(tokens))
