"""Folders of adapters: PEFT opens ours and we open PEFT's, with equal logits."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from danlu import assembly, models
from danlu.core.errors import CheckpointError
from danlu.core.spec import Spec
from danlu.nn.model import Model
from danlu.peft.attached import activate, attach

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    peft = pytest.importorskip("peft")
    import transformers

pytestmark = pytest.mark.filterwarnings("ignore")  # of libraries that save and open

LLAMA = {
    "vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 64, "max_position_embeddings": 64, "tie_word_embeddings": False,
}  # fmt: skip
SIZES = {
    "llama": LLAMA,
    "qwen2": LLAMA | {"tie_word_embeddings": True},
    "gpt2": {"vocab_size": 50, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "bloom": {"vocab_size": 50, "hidden_size": 32, "n_layer": 2, "n_head": 4},
}
TOKENS = torch.randint(0, 50, (2, 11), generator=torch.Generator().manual_seed(1))


def lora(*targets: str, **settings: Any) -> Any:
    return peft.LoraConfig(
        **{"r": 4, "lora_alpha": 8, "target_modules": list(targets), "task_type": "CAUSAL_LM", **settings}
    )


def named(kind: str, **settings: Any) -> Any:
    return getattr(peft, kind)(task_type="CAUSAL_LM", **settings)


THEIRS = {
    "lora": ("llama", lora("q_proj", "v_proj")),
    "lora-everywhere": ("llama", lora("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")),
    "rslora-with-tables": ("llama", lora("q_proj", use_rslora=True, modules_to_save=["embed_tokens", "lm_head"])),
    "lora-of-several-ranks": (
        "llama",
        lora("q_proj", "down_proj", rank_pattern={"down_proj": 2}, alpha_pattern={"q_proj": 3}),
    ),
    "lora-in-a-layer": ("llama", lora("q_proj", "up_proj", layers_to_transform=[1])),
    "lora-in-the-head": ("llama", lora("k_proj", "lm_head")),
    "lora-with-norms": ("llama", lora("q_proj", modules_to_save=["norm"])),
    "dora": ("llama", lora("q_proj", "v_proj", use_dora=True)),
    "adalora": (
        "llama",
        named("AdaLoraConfig", init_r=6, target_r=3, lora_alpha=8, target_modules=["q_proj", "v_proj"], total_step=10),
    ),
    "ia3": (
        "llama",
        named("IA3Config", target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]),
    ),
    "ia3-of-answers-only": ("llama", named("IA3Config", target_modules=["k_proj", "v_proj"], feedforward_modules=[])),
    "prompt": ("llama", named("PromptTuningConfig", num_virtual_tokens=3)),
    "p-tuning": ("llama", named("PromptEncoderConfig", num_virtual_tokens=3, encoder_hidden_size=16)),
    "prefix": ("llama", named("PrefixTuningConfig", num_virtual_tokens=3)),
    "prefix-by-a-network": (
        "llama",
        named("PrefixTuningConfig", num_virtual_tokens=3, prefix_projection=True, encoder_hidden_size=16),
    ),
    "qwen2-lora": ("qwen2", lora("q_proj", "down_proj")),
    "gpt2-lora": ("gpt2", lora("c_attn", "c_fc")),
    "gpt2-rslora-in-the-tied-head": ("gpt2", lora("c_attn", "lm_head", use_rslora=True)),
    "gpt2-lora-of-one-name-in-two-places": ("gpt2", lora("c_proj")),
    "gpt2-dora": ("gpt2", lora("c_attn", use_dora=True)),
    "gpt2-ia3": (
        "gpt2",
        named("IA3Config", target_modules=["c_attn", "mlp.c_proj"], feedforward_modules=["mlp.c_proj"]),
    ),
    "gpt2-prompt": ("gpt2", named("PromptTuningConfig", num_virtual_tokens=3)),
    "gpt2-prefix": ("gpt2", named("PrefixTuningConfig", num_virtual_tokens=3)),
    "bloom-lora-head-by-head": ("bloom", lora("query_key_value", "dense")),
}


def logits(model: Any) -> torch.Tensor:
    """Of the tokens themselves, virtual ones left out."""
    with torch.no_grad():
        found = model(TOKENS)
    return getattr(found, "logits", found)[:, -TOKENS.shape[1] :]


def moved(model: Any) -> Any:
    """Whatever trains, no more as it was born."""
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval()


def reopened(base: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(base, attn_implementation="eager").eval()


def written(model: Model, folder: Path) -> Path:
    folder.mkdir()
    assembly.write_into(model, None, folder)
    return folder


@pytest.mark.parametrize("case", list(THEIRS))
def test_we_open_folders_of_pefts_and_it_opens_ours(case: str, twins: Any, tmp_path: Path) -> None:
    kind, config = THEIRS[case]
    theirs, _, base = twins(kind, **SIZES[kind])
    plain = logits(theirs)
    adapted = moved(peft.get_peft_model(theirs, config))
    adapted.save_pretrained(tmp_path / "peft")
    expected = logits(adapted)
    assert (expected - plain).abs().max() > 0.1
    ours, _ = assembly.load(tmp_path / "peft", base=str(base))
    torch.testing.assert_close(logits(ours), expected, atol=1e-5, rtol=1e-5)
    folder = written(ours, tmp_path / "danlu")
    again = peft.PeftModel.from_pretrained(reopened(base), folder).eval()
    torch.testing.assert_close(logits(again), expected, atol=1e-5, rtol=1e-5)
    once_more, _ = assembly.load(folder, base=str(base))
    assert torch.equal(logits(once_more), logits(ours))


OURS = {
    "parts-of-a-fused-map": ("gpt2", {"use": "lora", "rank": 3, "at": "blocks.*.{q,v,up}"}, []),
    "all-of-a-fused-map": ("gpt2", {"use": "lora", "rank": 3, "alpha": 5, "scaling": "root", "at": "{q,k,v}"}, []),
    "parts-head-by-head": ("bloom", {"use": "lora", "rank": 3, "at": ["blocks.1.*.k", "o"]}, []),
    "dora-of-a-fused-map": ("gpt2", {"use": "dora", "rank": 3, "at": "{q,k,v}"}, []),
    "a-layer": ("llama", {"use": "lora", "rank": 3, "at": "blocks.1.*.q"}, []),
    "with-tables": ("llama", {"use": "lora", "rank": 3, "at": "q"}, ["embed", "head"]),
    "with-a-tied-table": ("qwen2", {"use": "lora", "rank": 3, "at": "q"}, ["embed"]),
    "the-head-adapted-and-trained": ("llama", {"use": "lora", "rank": 3, "at": ["q", "head"]}, ["head"]),
    "with-norms": ("gpt2", {"use": "lora", "rank": 3, "at": "up"}, ["norm", "blocks.0.norms"]),
    "adalora": ("llama", {"use": "adalora", "rank": 2, "initial": 4, "at": "blocks.*.{q,down}"}, []),
    "ia3": ("gpt2", {"use": "ia3", "outputs": "{k,v}", "inputs": "ffn.down"}, []),
    "prompt": ("llama", {"use": "prompt", "length": 4}, []),
    "p-tuning-lstm": ("llama", {"use": "ptuning", "length": 4, "width": 8}, []),
    "p-tuning-mlp": ("gpt2", {"use": "ptuning", "length": 4, "encoder": "mlp"}, []),
    "prefix": ("llama", {"use": "prefix", "length": 4, "width": 8}, []),
    "p-tuning-v2": ("gpt2", {"use": "ptuning_v2", "length": 4}, []),
}


@pytest.mark.parametrize("case", list(OURS))
def test_peft_opens_what_was_trained_here(case: str, twins: Any, tmp_path: Path) -> None:
    kind, spec, also = OURS[case]
    theirs, ours, base = twins(kind, **SIZES[kind])
    plain = logits(theirs)
    torch.manual_seed(2)
    attach(ours, Spec.read(spec), also=also)
    expected = logits(moved(ours))
    assert (expected - plain).abs().max() > 0.01
    folder = written(ours, tmp_path / "danlu")
    again = peft.PeftModel.from_pretrained(reopened(base), folder).eval()
    torch.testing.assert_close(logits(again), expected, atol=1e-5, rtol=1e-5)
    (folder / "danlu" / "adapter.json").unlink()  # PEFT's files alone say it all
    torch.testing.assert_close(logits(assembly.load(folder, base=str(base))[0]), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("spec", "also"),
    [
        ({"use": "houlsby"}, []),
        ({"use": "lora", "at": "q"}, ["blocks.0.sublayers.attention.q.bias"]),
        ({"use": "prefix", "length": 4, "shift": False}, []),
        ({"use": "ptuning", "length": 4, "placeholder": 3}, []),
        ({"use": "dora", "at": "q"}, []),
        ({"use": "prompt", "length": 4}, ["embed"]),
    ],
)
def test_what_peft_has_no_words_for_is_written_for_danlu_only(
    spec: dict[str, Any], also: list[str], twins: Any, tmp_path: Path
) -> None:
    _, ours, base = twins("gpt2", **SIZES["gpt2"])
    attach(ours, Spec.read(spec), also=also)
    expected = logits(moved(ours))
    folder = written(ours, tmp_path / "danlu")
    assert sorted(path.name for path in folder.iterdir()) == ["danlu"]
    assert torch.equal(logits(assembly.load(folder, base=str(base))[0]), expected)


def test_layers_and_ranks_are_named_so_that_no_other_is_adapted(twins: Any, tmp_path: Path) -> None:
    _, ours, _ = twins("gpt2", **SIZES["gpt2"])
    attach(ours, Spec.read({"use": "lora", "rank": 3, "alpha": 6, "at": ["blocks.1.*.{q,k}", "blocks.*.ffn.up"]}))
    config = json.loads((written(moved(ours), tmp_path / "danlu") / "adapter_config.json").read_text())
    fused = "transformer.h.1.attn.c_attn"
    assert set(config["target_modules"]) == {fused, "transformer.h.0.mlp.c_fc", "transformer.h.1.mlp.c_fc"}
    assert config["rank_pattern"] == {fused: 6}
    assert config["alpha_pattern"] == {fused: 12}
    assert config["fan_in_fan_out"]
    up = load_file(tmp_path / "danlu" / "adapter_model.safetensors")[f"base_model.model.{fused}.lora_B.weight"]
    q, k, v = up.split(32)
    assert torch.stack([q, k, v]).view(3, 32, 2, 3).any(3).any(1).tolist() == [
        [True, False],
        [False, True],
        [False] * 2,
    ]


def test_an_adapter_over_quantized_weights_is_written_for_the_full_ones(twins: Any, tmp_path: Path) -> None:
    """QLoRA: the storage is no part of the folder."""
    _, ours, base = twins("llama", **LLAMA)
    quantized, _ = assembly.load(base, storage="int8")
    for name, model in (("full", ours), ("quantized", quantized)):
        torch.manual_seed(3)
        attach(model, Spec.read({"use": "lora", "rank": 3, "at": "q"}))
        written(moved(model), tmp_path / name)
    full, small = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("full", "quantized"))
    assert full.keys() == small.keys()
    assert all(full[key].equal(small[key]) for key in full)


@pytest.fixture
def saved(twins: Any, tmp_path: Path) -> tuple[Path, Path]:
    """(a folder of PEFT's with plain LoRA, its base)"""
    theirs, _, base = twins("llama", **LLAMA)
    moved(peft.get_peft_model(theirs, lora("q_proj"))).save_pretrained(tmp_path / "peft")
    return tmp_path / "peft", base


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("layer_replication", [[0, 1], [0, 2]], "repeats layers"),
        ("alora_invocation_tokens", [3], "begins to act at certain tokens"),
        ("use_qalora", True, "QA-LoRA"),
        ("init_lora_weights", "pissa", "changed the base too"),
        ("peft_type", "VERA", "no adapter format named 'vera'"),
        ("peft_type", None, "names no peft_type"),
        ("r", "eight", "r must be int"),
        ("kasa_config", {"beta": 1}, "changes the base itself"),
    ],
)
def test_settings_that_are_not_served_are_refused(
    saved: tuple[Path, Path], key: str, value: Any, sentence: str
) -> None:
    folder, base = saved
    raw = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(raw | {key: value}))
    with pytest.raises(CheckpointError, match=sentence):
        assembly.load(folder, base=str(base))


def test_a_setting_never_heard_of_is_logged(saved: tuple[Path, Path], caplog: pytest.LogCaptureFixture) -> None:
    folder, base = saved
    raw = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(raw | {"sparkle": 3}))
    assembly.load(folder, base=str(base))
    assert "sparkle = 3 is not known and ignored" in caplog.text


def test_tied_tables_that_were_trained_apart_are_refused(twins: Any, tmp_path: Path) -> None:
    theirs, _, base = twins("qwen2", **SIZES["qwen2"])
    config = lora("q_proj", modules_to_save=["embed_tokens", "lm_head"])
    moved(peft.get_peft_model(theirs, config)).save_pretrained(tmp_path / "peft")
    with pytest.raises(CheckpointError, match="trained apart, but the base ties them"):
        assembly.load(tmp_path / "peft", base=str(base))


def test_tensors_without_a_place_are_refused(saved: tuple[Path, Path]) -> None:
    folder, base = saved
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    save_file(tensors | {"base_model.model.model.embed_tokens.lora_embedding_A": torch.ones(2, 50)}, file)
    with pytest.raises(CheckpointError, match=r"embed_tokens.lora_embedding_A' \(1 such\) has no place"):
        assembly.load(folder, base=str(base))
    save_file({name.replace("layers.1", "layers.7"): tensor for name, tensor in tensors.items()}, file)
    with pytest.raises(CheckpointError, match=r"layers.7.self_attn.q_proj', which is no linear map of this model"):
        assembly.load(folder, base=str(base))


def test_several_adapters_of_both_kinds_on_one_model(saved: tuple[Path, Path], twins: Any, tmp_path: Path) -> None:
    folder, base = saved
    alone = logits(assembly.load(folder, base=str(base))[0])
    model, _ = models.load(base)
    plain = logits(model)
    attach(model, Spec.read({"use": "lora", "rank": 2, "at": "v"}), "mine")
    mine = logits(moved(model))
    assembly.attach_folder(model, folder, "theirs")
    for name, expected in (("theirs", alone), ("mine", mine), ("theirs", alone)):
        activate(model, name)
        assert torch.equal(logits(model), expected)
    activate(model)
    assert torch.equal(logits(model), plain)
