"""Model directories that are damaged, unsafe, incomplete or of another kind: one sentence, naming what and where."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import danlu
from danlu.core.errors import CheckpointError, ConfigError, ShapeError
from danlu.core.spec import Spec
from danlu.models import build, grow, recipe_of, save

SIZES = {"model": 16, "layers": 2, "heads": 4, "kv_heads": 2, "context": 16, "ffn": 24}
WEIGHTS, CONFIG = "model.safetensors", "config.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved llama without danlu's own recipe, as it would come from elsewhere."""
    path = save(build(Spec("llama", SIZES), vocab=40), None, tmp_path / "model")
    (path / "danlu/recipe.json").unlink()
    return path


def settings(folder: Path, **changes: Any) -> None:
    raw = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**raw, **changes}))


def tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    held = load_file(folder / WEIGHTS)
    change(held)
    save_file(held, folder / WEIGHTS)


def refusal(folder: Path | str, kind: type[Exception] = CheckpointError) -> str:
    with pytest.raises(kind) as caught:
        danlu.load(folder)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def test_unknown_model_type(folder) -> None:
    settings(folder, model_type="mamba")
    sentence = refusal(folder)
    assert "model_type 'mamba' is not built; there are:" in sentence
    assert "llama" in sentence
    assert str(folder / CONFIG) in sentence


def test_a_missing_tensor_is_named_with_its_shape(folder) -> None:
    tensors(folder, lambda held: held.__delitem__("model.layers.1.mlp.up_proj.weight"))
    assert "the tensor 'model.layers.1.mlp.up_proj.weight' of shape [24, 16] is missing" in refusal(folder)


def test_an_unexpected_tensor_is_named(folder) -> None:
    tensors(folder, lambda held: held.update({"model.layers.7.mlp.up_proj.weight": torch.ones(2)}))
    assert "hold 'model.layers.7.mlp.up_proj.weight' (1 such), which the model" in refusal(folder)


def test_biases_that_config_json_does_not_announce(folder) -> None:
    tensors(
        folder, lambda held: held.update({f"model.layers.{i}.self_attn.q_proj.bias": torch.ones(16) for i in range(2)})
    )
    assert "'model.layers.0.self_attn.q_proj.bias' (2 such)" in refusal(folder)


def test_a_wrong_shape_names_both(folder) -> None:
    tensors(folder, lambda held: held.update({"model.norm.weight": torch.ones(17)}))
    assert "'model.norm.weight' has shape [17], config.json asks for [16]" in refusal(folder)


def test_a_wrong_vocabulary_says_which(folder) -> None:
    settings(folder, vocab_size=44)
    sentence = refusal(folder)
    assert "'model.embed_tokens.weight' has shape [40, 16], config.json asks for [44, 16]" in sentence
    assert "a vocabulary of 40" in sentence


@pytest.mark.parametrize("keep", [0, 7, 100, 5000])
def test_truncated_weights(folder, keep) -> None:
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[:keep])
    assert f"{folder / WEIGHTS}: is cut or damaged" in refusal(folder)


def test_bytes_that_are_no_safetensors(folder) -> None:
    (folder / WEIGHTS).write_bytes(b"\xff" * 4000)
    assert "is cut or damaged" in refusal(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pth", "last.ckpt"])
def test_a_pickle_is_never_opened_and_the_remedy_is_told(folder, name) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return (folder / "exploded").write_text, ("boom",)

    (folder / WEIGHTS).unlink()
    torch.save(Bomb(), folder / name)
    sentence = refusal(folder)
    assert "is a pickle" in sentence
    assert "convert it to safetensors" in sentence
    assert not (folder / "exploded").exists()


def test_no_weights_at_all(folder) -> None:
    (folder / WEIGHTS).unlink()
    assert "holds no weights; model.safetensors or model.safetensors.index.json is expected" in refusal(folder)


def test_a_missing_shard_and_a_shard_outside(tmp_path) -> None:
    path = save(build(Spec("llama", SIZES), vocab=40), None, tmp_path / "model", max_bytes=3000)
    shard = sorted(path.glob("model-*.safetensors"))[1]
    shard.unlink()
    assert f"{shard}: is missing though model.safetensors.index.json lists it" in refusal(path)
    index = json.loads((path / "model.safetensors.index.json").read_text())
    index["weight_map"]["model.norm.weight"] = "../../etc/passwd"
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "names the file '../../etc/passwd' outside its folder" in refusal(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden_act": "relu2"}, ["hidden_act = 'relu2' cannot be served", "silu"]),
        ({"rope_scaling": {"rope_type": "longrope", "factor": 2.0}}, ["rope type 'longrope' is not built", "yarn"]),
        ({"rope_scaling": {"type": "su", "factor": 2.0}}, ["rope type 'su' is not built", "dynamic, linear, llama3"]),
        (
            {"rope_scaling": {"rope_type": "linear", "factor": 2.0, "sharpness": 3}},
            ["'linear' has the setting 'sharpness'"],
        ),
        ({"rope_scaling": {"rope_type": "linear"}}, ["'interpolation' needs the setting ['factor']"]),
        ({"partial_rotary_factor": 0.5}, ["partial_rotary_factor = 0.5 cannot be served"]),
        ({"quantization_config": {"bits": 4}}, ["quantization_config", "load the unquantized original"]),
        ({"sliding_window": 8}, ["sliding_window = 8 cannot be served", "mistral"]),
        ({"final_logit_softcapping": 30.0}, ["final_logit_softcapping = 30.0 cannot be served"]),
        ({"num_key_value_heads": 3}, ["heads (4) must be a multiple of kv_heads (3)"]),
        ({"hidden_size": "16"}, ["hidden_size must be int, found '16'"]),
        ({"num_hidden_layers": None}, ["the setting 'num_hidden_layers' is missing"]),
        ({"layer_types": ["full_attention", "sliding_attention"]}, ["layer_types"]),
        ({"rms_norm_eps": "tiny"}, ["rms_norm_eps must be float, found 'tiny'"]),
    ],
)
def test_settings_that_cannot_be_served(folder, changes, words) -> None:
    settings(folder, **changes)
    sentence = refusal(folder)
    assert str(folder / CONFIG) in sentence
    for word in words:
        assert word in sentence


def test_a_setting_never_heard_of_is_told(folder, caplog) -> None:
    settings(folder, flux_capacitor=3, _name_or_path="x", pretraining_tp=1)
    danlu.load(folder)
    assert [record.getMessage() for record in caplog.records] == [
        f"{folder / CONFIG}: the setting flux_capacitor = 3 is not known and ignored"
    ]


@pytest.mark.parametrize(
    ("text", "words"), [("{", "broken JSON"), ("[]", "names no model_type"), ("{}", "names no model_type")]
)
def test_a_broken_config(folder, text, words) -> None:
    (folder / CONFIG).write_text(text)
    assert words in refusal(folder, danlu.core.errors.DanluError)


def test_the_own_recipe_may_not_contradict(tmp_path) -> None:
    path = save(build(Spec("llama", SIZES), vocab=40), None, tmp_path / "model")
    settings(path, rope_theta=5e5)
    assert "config.json and danlu/recipe.json disagree about 'rope_theta'" in refusal(path)


@pytest.mark.parametrize(
    ("path", "words"),
    [("nowhere", "does not exist"), ("a/b/c", "does not exist"), ("../up", "does not exist")],
)
def test_a_path_that_is_none(path, words, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert words in refusal(path)


def test_an_empty_folder_and_a_file(tmp_path) -> None:
    assert "has no config.json; give a model directory" in refusal(tmp_path)
    (tmp_path / "file").write_text("x")
    assert "is a file" in refusal(tmp_path / "file")


def test_a_hub_id_without_network(monkeypatch, tmp_path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert "nobody/nothing: is no local directory and the hub cannot be reached" in refusal("nobody/nothing")


def test_saving_never_replaces_in_silence_and_is_whole_or_not_there(tmp_path, monkeypatch) -> None:
    model = build(Spec("llama", SIZES), vocab=40)
    path = save(model, None, tmp_path / "model")
    with pytest.raises(CheckpointError, match="exists already; choose another directory, or say overwrite=True"):
        save(model, None, path)
    before = (path / WEIGHTS).read_bytes()

    def full(*_: object, **__: object) -> None:
        from safetensors import SafetensorError

        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        save(model, None, path, overwrite=True)
    assert (path / WEIGHTS).read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    monkeypatch.undo()
    save(build(Spec("llama", SIZES), vocab=40, seed=9), None, path, overwrite=True)
    assert (path / WEIGHTS).read_bytes() != before
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_family_cannot_publish_parts_that_are_not_its_own(tmp_path) -> None:
    from dataclasses import replace

    model = build(Spec("llama", SIZES), vocab=40)
    model.recipe = replace(model.recipe, masks=(Spec("full"),))
    with pytest.raises(ConfigError, match="cannot be published; save the model as family decoder"):
        save(model, None, tmp_path / "model")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("token", [-1, 40, 10**6])
def test_a_token_outside_the_vocabulary(token) -> None:
    model = build(Spec("llama", SIZES), vocab=40)
    with pytest.raises(ShapeError, match=rf"token id {token} is not in the model's vocabulary of 40"):
        model(torch.tensor([[1, token]]))


@pytest.mark.parametrize(
    ("architecture", "words"),
    [
        ({"use": "lama", **SIZES}, "no family named 'lama' (did you mean 'llama'?)"),
        ({"use": "llama", **SIZES, "kv_heads": 3}, "heads (4) must be a multiple of kv_heads (3)"),
        ({"use": "llama", **SIZES, "heads": 5}, "model (16) must be a multiple of heads (5)"),
        ({"use": "llama", "model": 16}, "needs the setting ['context', 'heads', 'layers']"),
        ({"use": "llama", **SIZES, "layers": 0}, "layers must be at least 1, found 0"),
        ({"use": "llama", **SIZES, "position": {"use": "rpoe"}}, "no position named 'rpoe'"),
        ({"use": "llama", **SIZES, "position": {"use": "rope", "bse": 3}}, "position 'rope' has no setting ['bse']"),
        (
            {"use": "llama", **SIZES, "position": {"use": "rope", "scaling": {"use": "yarn", "facter": 8}}},
            "position.scaling",
        ),
    ],
)
def test_architectures_that_make_no_sense(architecture, words) -> None:
    with pytest.raises(ConfigError) as caught:
        build(Spec.read(architecture), vocab=40)
    assert words in str(caught.value)


def test_new_tokens_made_of_unknown_pieces() -> None:
    with pytest.raises(ShapeError, match="made of the id 40, which is not below 40"):
        grow(build(Spec("llama", SIZES), vocab=40), [[1, 40]])


def test_a_recipe_with_too_many_masks() -> None:
    from dataclasses import replace

    recipe = recipe_of(Spec("llama", SIZES), vocab=40)
    with pytest.raises(ConfigError, match="3 masks are more than the model's 2 layers"):
        replace(recipe, masks=(Spec("causal"),) * 3)


def test_loading_needs_no_second_copy_in_memory(tmp_path) -> None:
    """76 MB of weights: the process grows by little more than the weights at its highest."""
    import subprocess
    import sys

    sizes = {"model": 512, "layers": 4, "heads": 8, "context": 16, "ffn": 1408}
    folder = save(build(Spec("llama", sizes), vocab=6000), None, tmp_path / "model")
    code = f"""
import resource, danlu.models.reading, safetensors.torch
high = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = high()
model, _ = danlu.load({str(folder)!r})
print((high() - before) / (sum(p.nbytes for p in model.parameters()) / 2**20))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1.5
