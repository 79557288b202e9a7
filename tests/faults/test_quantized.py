"""What a storage cannot do: one sentence with the remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from talkers import small_model
from train_tiny import write_recipe

import danlu
from danlu import models
from danlu.core.errors import CheckpointError, ConfigError
from danlu.core.spec import Spec
from danlu.nn.model import Model
from danlu.nn.storages import STORAGES, maps_of, replace, store
from danlu.train.run import train


def kept(name: str = "nf4", **sizes: int) -> Model:
    model = small_model(**({"model": 64} | sizes))
    store(model, STORAGES[name]())
    return model


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"use": "nf4", "block": 48}, r"nf4: block is one of 32, 64, .* 4096, found 48"),
        ({"use": "fp4", "compute": "fp8"}, r"compute is one of bf16, fp16, fp32, found 'fp8'"),
        ({"use": "llm_int8", "block": 64}, r"'llm_int8' has no setting \['block'\]"),
        ({"use": "int8", "group": 48}, r"int8: group is one of 16, 32, 64, 128, 256, or none for whole rows; found 48"),
        ({"use": "w8a8", "group": 64}, r"'w8a8' has no setting \['group'\]"),
        ({"use": "nf5"}, r"no storage named 'nf5' \(did you mean 'nf4'\?\)"),
    ],
)
def test_settings_are_checked(spec: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Spec.read(spec).build(STORAGES, where="storage")


def test_a_quantized_base_is_not_quantized_again_otherwise(tmp_path: Path) -> None:
    folder = danlu.save(kept(), None, tmp_path / "base")
    with pytest.raises(
        ConfigError, match=r"kept as nf4 already, and keeping them as int8 would round them twice; strike"
    ):
        danlu.load(folder, storage="int8")
    again, _ = danlu.load(folder, storage={"use": "nf4", "compute": "bf16"})
    assert models.config_of(again)["quantization_config"]["bnb_4bit_compute_dtype"] == "bfloat16"


def test_a_quantized_base_alone_is_not_trained(tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "run")
    tokenizer = danlu.load_tokenizer(tmp_path / "run" / "tokenizer")
    base = danlu.save(kept(vocab=tokenizer.vocab_size), tokenizer, tmp_path / "base")
    recipe = json.dumps({key: value for key, value in _yaml(path).items() if key not in ("architecture", "tokenizer")})
    path.write_text(recipe[:-1] + f', "base": "{base}"}}')
    with pytest.raises(ConfigError, match=r"keeps its weights quantized, which cannot be trained; name an adapter"):
        train(path, out=tmp_path / "out", quiet=True)


def _yaml(path: Path) -> dict[str, object]:
    import yaml

    return yaml.safe_load(path.read_text())


def test_two_storages_have_no_directory_together(tmp_path: Path) -> None:
    model = kept()
    part = model.get_submodule("blocks.0.sublayers.attention.q")
    other = STORAGES["int8"]().keep(part.dense(), None, part.axes)  # type: ignore[operator, arg-type]
    replace(model, "blocks.0.sublayers.attention.q", other)
    with pytest.raises(ConfigError, match=r"in several ways \(int8, nf4\), which config.json cannot say"):
        danlu.save(model, None, tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_a_block_over_two_rows_cannot_be_published_fused(tmp_path: Path) -> None:
    model = small_model("gpt2", model=48)
    store(model, STORAGES["nf4"]())
    with pytest.raises(ConfigError, match=r"a block of 64 weights kept as nf4 spans rows of 48.*choose a block that"):
        danlu.save(model, None, tmp_path / "fused")
    assert not (tmp_path / "fused").exists()


def damaged(folder: Path, change: dict[str, torch.Tensor | None]) -> Path:
    """A quantized directory with some tensors replaced, or gone."""
    danlu.save(kept(), None, folder)
    tensors = load_file(folder / "model.safetensors")
    for name, tensor in change.items():
        if tensor is None:
            del tensors[name]
        else:
            tensors[name] = tensor
    save_file(tensors, folder / "model.safetensors")
    return folder


Q = "model.layers.0.self_attn.q_proj.weight"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({f"{Q}.absmax": None}, r"q_proj.weight'.*do not fit together \(KeyError\('weight.absmax'\)\); fetch"),
        ({f"{Q}.absmax": torch.zeros(3, dtype=torch.uint8)}, r"absmax has 3 numbers instead of 64"),
        ({Q: torch.zeros(5, 1, dtype=torch.uint8)}, r"packed has 5 numbers instead of 2048"),
        ({f"{Q}.quant_state.bitsandbytes__nf4": torch.zeros(9, dtype=torch.uint8)}, r"do not fit together"),
        ({"model.norm.weight.absmax": torch.zeros(1)}, r"norm.weight.absmax|do not fit together"),
    ],
)
def test_damaged_constants_are_named(tmp_path: Path, change: dict[str, torch.Tensor | None], said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        danlu.load(damaged(tmp_path / "base", change))


def test_a_weight_of_another_shape_is_named(tmp_path: Path) -> None:
    danlu.save(kept(ffn=128), None, tmp_path / "base")
    file = tmp_path / "base" / "config.json"
    raw = json.loads(file.read_text())
    file.write_text(json.dumps(raw | {"intermediate_size": 192}))
    (tmp_path / "base" / "danlu" / "recipe.json").unlink()
    with pytest.raises(CheckpointError, match=r"holds a weight of shape \[128, 64\], config.json asks for \[192, 64\]"):
        danlu.load(tmp_path / "base")


def test_other_quantizations_are_refused(tmp_path: Path) -> None:
    folder = models.save(small_model(), None, tmp_path / "base")
    raw = json.loads((folder / "config.json").read_text())
    for config in ({"quant_method": "gptq", "bits": 4}, {"quant_method": "awq"}, {"load_in_4bit": False}):
        (folder / "config.json").write_text(json.dumps(raw | {"quantization_config": config}))
        with pytest.raises(CheckpointError, match="load the unquantized original"):
            danlu.load(folder)


def test_a_merged_model_may_be_quantized_in_part(tmp_path: Path) -> None:
    """Plain maps among quantized ones are published plain, and come back plain."""
    model = kept()
    part = model.get_submodule("blocks.0.sublayers.attention.q")
    replace(model, "blocks.0.sublayers.attention.q", part.linear())  # type: ignore[operator, arg-type]
    again, _ = danlu.load(danlu.save(model, None, tmp_path / "part"))
    assert list(maps_of(again)) == ["blocks.0.sublayers.attention.q"]
    tokens = torch.arange(8)[None]
    assert torch.allclose(again(tokens), model(tokens), atol=1e-5)
