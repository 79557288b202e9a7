"""Folders of adapters that are cut, of another base, or without one: one sentence, and nothing is lost."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from adapted import adapter_in, base_in
from safetensors.torch import load_file, save_file

from danlu import assembly, models
from danlu.cli import main
from danlu.core.errors import CheckpointError, DanluError
from danlu.core.spec import Spec
from danlu.peft.attached import attach

LORA = {"use": "lora", "rank": 4, "at": "blocks.*.{q,down}"}
SHORT = ["--max-tokens", "3"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """base, other (another base) and lora (of base), in one folder."""
    home = tmp_path_factory.mktemp("folders")
    base_in(home / "base")
    base_in(home / "other", seed=8)
    adapter_in(home / "lora", home / "base", LORA)
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(made, tmp_path / "home"))


def sentence(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What the command says on its way out with a user's mistake."""
    assert main(list(words)) == 2
    said = capsys.readouterr().err
    assert said.startswith("danlu: ")
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize("verb", [["generate", "the"], ["merge", "OUT"]])
def test_an_adapter_of_another_base(verb: list[str], home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, last = verb
    words = [name, str(home / "lora"), str(home / "out") if last == "OUT" else last, "--base", str(home / "other")]
    said = sentence(capsys, *words)
    assert "was trained on other weights than those in" in said
    assert "--any-base" in said
    assert main([*words, "--any-base", *(SHORT if name == "generate" else [])]) == 0


def test_an_adapter_named_beside_another_base(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["generate", str(home / "other"), "the", "--adapter", str(home / "lora"), *SHORT]
    assert "was trained on other weights" in sentence(capsys, *words)
    assert main([*words, "--any-base"]) == 0
    words = ["generate", str(home / "base"), "the", "--adapter", str(home / "other")]
    assert "holds no adapter" in sentence(capsys, *words)
    assert "does not exist" in sentence(capsys, *words[:-1], f"law={home / 'nowhere'}")


@pytest.mark.parametrize(
    ("sizes", "odd"),
    [
        ({"model": 64}, r"q.deltas.down.weight' has shape \[4, 48\], this model asks for \[4, 64\]"),
        ({"layers": 2}, "blocks.2.sublayers.attention.q.deltas.down.weight' has no place in this model"),
        ({"layers": 4}, "blocks.3.sublayers.attention.q.deltas.down.weight' is missing"),
    ],
)
def test_a_base_of_another_shape(sizes: dict[str, int], odd: str, home: Path) -> None:
    """The tensor is named, and the model is as it was."""
    model, _ = models.load(base_in(home / "wide", **sizes))
    with pytest.raises(CheckpointError, match=f"{odd}.*another base"):
        assembly.attach_folder(model, home / "lora", "law")
    assert model.switch is not None
    assert not model.switch.adapters
    assert not [name for name in model.state_dict() if "law" in name]


def test_a_missing_base(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Wherever both went together it is found; else the sentence says what to give."""
    (home / "base").rename(home / "elsewhere")
    said = json.loads((home / "lora" / "danlu" / "adapter.json").read_text())
    said["base"] = {**said["base"], "path": str(home / "base"), "beside": "../base"}
    (home / "lora" / "danlu" / "adapter.json").write_text(json.dumps(said))
    assert "say where it lies with base= (--base DIR)" in sentence(capsys, "generate", str(home / "lora"), "the")
    assert main(["generate", str(home / "lora"), "the", "--base", str(home / "elsewhere"), *SHORT]) == 0
    moved = home / "moved"
    moved.mkdir()
    (home / "elsewhere").rename(moved / "base")
    (home / "lora").rename(moved / "lora")
    assert main(["generate", str(moved / "lora"), "the", *SHORT]) == 0


def test_an_adapter_that_names_no_base(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, _ = models.load(home / "base")
    attach(model, Spec.read(LORA))
    assembly.save(model, None, home / "orphan")
    assert "names no base; give it with base= (--base DIR)" in sentence(capsys, "generate", str(home / "orphan"), "the")
    assert main(["generate", str(home / "orphan"), "the", "--base", str(home / "base"), *SHORT]) == 0


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize(
    ("file", "damage", "words"),
    [
        ("danlu/adapter.safetensors", cut, ["adapter.safetensors: is cut or damaged"]),
        ("danlu/adapter.safetensors", Path.unlink, ["adapter.safetensors: is missing"]),
        ("danlu/adapter.json", cut, ["adapter.json:", "broken JSON"]),
        ("danlu/adapter.json", lambda file: file.write_text("{}"), ["adapter.json: is not whole"]),
        ("danlu/adapter.json", lambda file: file.write_text('{"adapter": {"use": "lore"}, "trains": [], "base": null}'),
         ["names no base"]),
    ],
)  # fmt: skip
def test_a_damaged_adapter(file, damage, words, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage(home / "lora" / file)
    said = sentence(capsys, "generate", str(home / "lora"), "the")
    assert all(word in said for word in words), said


def theirs(home: Path) -> Path:
    """The same folder without what danlu wrote for itself."""
    shutil.rmtree(home / "lora" / "danlu")
    return home / "lora"


@pytest.mark.parametrize(
    ("file", "damage", "words"),
    [
        ("adapter_config.json", cut, ["adapter_config.json:", "broken JSON"]),
        ("adapter_config.json", lambda file: file.write_text("[]"), ["names no peft_type"]),
        ("adapter_model.safetensors", cut, ["adapter_model.safetensors: is cut or damaged"]),
        ("adapter_model.safetensors", Path.unlink, ["adapter_model.safetensors: is missing"]),
        ("adapter_model.safetensors", lambda file: file.rename(file.with_name("adapter_model.bin")),
         ["adapter_model.bin: is a pickle", "save_pretrained"]),
    ],
)  # fmt: skip
def test_a_damaged_adapter_of_pefts(file, damage, words, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = theirs(home)
    assert main(["generate", str(folder), "the", *SHORT]) == 0
    capsys.readouterr()
    damage(folder / file)
    said = sentence(capsys, "generate", str(folder), "the")
    assert all(word in said for word in words), said


def test_an_adapter_of_pefts_of_another_shape(home: Path) -> None:
    folder = theirs(home)
    tensors = load_file(folder / "adapter_model.safetensors")
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    save_file(tensors | {name: torch.zeros(4, 50)}, folder / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match=r"q.deltas.down.weight' has shape \[4, 50\].*another base"):
        assembly.load(folder)


# ── merging ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_merge_writes_a_model_that_answers_the_same(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also for transformers, in full precision, verified, and as a whole directory with its tokenizer."""
    transformers = pytest.importorskip("transformers")
    transformers.utils.logging.disable_progress_bar()
    assert main(["merge", str(home / "lora"), str(home / "out"), "--verify", "the cat"]) == 0
    assert "the same greedy text of 32 tokens" in capsys.readouterr().out
    adapted, _ = assembly.load(home / "lora")
    merged, tokenizer = models.load(home / "out")
    assert tokenizer is not None
    tokens = torch.randint(0, 267, (2, 12), generator=torch.Generator().manual_seed(0))
    opened = transformers.AutoModelForCausalLM.from_pretrained(home / "out").eval()
    with torch.no_grad():
        expected = adapted(tokens)
        torch.testing.assert_close(merged(tokens), expected, atol=2e-4, rtol=1e-5)
        torch.testing.assert_close(opened(tokens).logits, expected, atol=2e-4, rtol=1e-5)
        assert (models.load(home / "base")[0](tokens) - expected).abs().max() > 1
    assert "exists already" in sentence(capsys, "merge", str(home / "lora"), str(home / "out"))
    assert main(["merge", str(home / "lora"), str(home / "out"), "--overwrite", "--dtype", "bf16"]) == 0
    half, _ = models.load(home / "out")
    whole, rounded = (each.blocks[0].sublayers.attention.q.weight for each in (merged, half))
    assert torch.equal(rounded, whole.bfloat16())


def test_a_merge_that_lost_the_adapter_is_noticed(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("danlu.assembly.merging._merged", lambda part, dequantize: part.origin)
    said = sentence(capsys, "merge", str(home / "lora"), str(home / "out"), "--verify")
    assert "goes on with another text than the adapted model" in said


@pytest.mark.parametrize(
    ("spec", "also", "words"),
    [
        ({"use": "prompt", "length": 3}, [], "(prompt) acts on activations, which no weight can do"),
        ({"use": "houlsby"}, [], "(houlsby) acts on activations"),
    ],
)
def test_what_cannot_merge(spec, also, words: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = adapter_in(home / "odd", home / "base", spec, also)
    assert words in sentence(capsys, "merge", str(folder), str(home / "out"))
    assert "holds no adapter to merge" in sentence(capsys, "merge", str(home / "base"), str(home / "out"))
    assert not (home / "out").exists()


def test_a_head_that_shares_its_table_cannot_merge(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = base_in(home / "tied", tied=True)
    folder = adapter_in(home / "odd", base, {"use": "lora", "rank": 4, "at": ["q", "head"]})
    model = assembly.load(folder)[0].double()
    assert model.head.origin.weight is model.embed.weight  # tied still, though moved
    assert "the weight of head is shared" in sentence(capsys, "merge", str(folder), str(home / "out"))


def test_merging_into_a_base_trained_quantized_reads_it_in_full(home: Path) -> None:
    """The storage of training is no part of an adapter; only weights that are kept so now are refused."""
    model, _ = assembly.load(home / "lora", storage="int8")
    with pytest.raises(DanluError, match=r"int8 cannot take a merged adapter.*dequantize"):
        assembly.merge(model)
    with torch.no_grad():
        tokens = torch.randint(0, 267, (2, 12), generator=torch.Generator().manual_seed(0))
        expected = model(tokens)
        full = assembly.merge(model, dequantize=True)
        torch.testing.assert_close(full(tokens), expected, atol=2e-4, rtol=1e-5)
    assembly.save(full, None, home / "out")
    assert models.load(home / "out")[0].blocks[0].sublayers.ffn.up.weight.dtype == torch.float32


def test_merging_into_a_directory_that_is_quantized(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Refused with the remedy; then full weights are written, of which transformers needs no library."""
    model, tokenizer = assembly.load(home / "base", storage="nf4")
    models.save(model, tokenizer, home / "small")
    folder = adapter_in(home / "qlora", home / "small", LORA)
    words = ["merge", str(folder), str(home / "out")]
    assert "or say --dequantize" in sentence(capsys, *words)
    assert not (home / "out").exists()
    assert main([*words, "--dequantize", "--verify"]) == 0
    assert "quantization_config" not in json.loads((home / "out" / "config.json").read_text())
    tokens = torch.randint(0, 267, (2, 12), generator=torch.Generator().manual_seed(0))
    merged, adapted = models.load(home / "out")[0], assembly.load(folder)[0]
    with torch.no_grad():
        torch.testing.assert_close(merged(tokens), adapted(tokens), atol=1e-3, rtol=1e-4)


# ── talking ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_generate_answers_with_each_adapter_in_turn(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adapter_in(home / "second", home / "base", {"use": "ia3"}, seed=9)
    words = ["generate", str(home / "base"), "the", "--max-tokens", "8", "--json"]
    both = ["--adapter", str(home / "lora"), "--adapter", f"law={home / 'second'}"]
    assert main([*words, *both]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["adapter"] for line in lines] == ["lora", "law"]
    for line, folder in zip(lines, ("lora", "second"), strict=True):
        assert main(["generate", str(home / folder), *words[2:]]) == 0
        assert json.loads(capsys.readouterr().out)["tokens"] == line["tokens"]
    assert main([*words[:-1], *both]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("── ")] == ["── lora", "── law"]


def test_chat_switches_adapters(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def chat(lines: str, *words: str) -> list[str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
        assert main(["chat", *words, "--max-tokens", "6"]) == 0
        return capsys.readouterr().out.splitlines()

    plain = chat("hi\n", str(home / "base"))
    adapted = chat("hi\n", str(home / "lora"))
    assert plain != adapted
    lines = "hi\n/reset\n/adapter none\nhi\n/reset\n/adapter lorry\n/adapter lora\nhi\n/adapter\n"
    said = chat(lines, str(home / "base"), "--adapter", str(home / "lora"))
    assert said == [
        *adapted,
        "adapters: lora; now answers the base alone",
        *plain,
        "danlu: no adapter named 'lorry' (did you mean 'lora'?); there are: lora",
        "adapters: lora; now answers the base alone",
        "adapters: lora; now answers lora",
        *adapted,
        "adapters: lora; now answers lora",
    ]
