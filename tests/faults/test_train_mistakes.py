"""What a user may get wrong in a recipe: one sentence with the place and the remedy, before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from data_tokenizer import make_tokenizer
from train_tiny import LLAMA, tiny_model, write_recipe

import danlu
from danlu.cli import main
from danlu.core.errors import CheckpointError, ConfigError, DanluError, ShapeError
from danlu.train.run import train

CASES: list[tuple[list[str], type[DanluError], str]] = [
    (["train.step=5"], ConfigError, r"train: no key named 'step' \(did you mean 'steps'\?\); there are: .*steps"),
    (["optim.learning_rate=1"], ConfigError, r"optim: optimizer 'adamw' has no setting \['learning_rate'\]; it has"),
    (["optim.lr=fast"], ConfigError, r"optim.lr: expected a number, found 'fast'"),
    (["optim.use=adamwx"], ConfigError, r"no optimizer named 'adamwx' \(did you mean 'adamw'\?\)"),
    (["schedule.warmup=1.5"], ConfigError, "warmup is steps .* or a share below 1"),
    (["hooks.0.use=sav"], ConfigError, r"no hook named 'sav' \(did you mean 'save'\?\)"),
    (["train.precision=fp12"], ConfigError, r"no precision named 'fp12'"),
    (["train.micro=8"], ConfigError, r"train.micro is 8 slots, fewer than one row of data.pack.length 32"),
    (["train.tokens=8"], ConfigError, r"train.tokens is 8 slots, fewer than one row"),
    (["train.epochs=1"], ConfigError, "give either steps or epochs"),
    (["train.clip=-1"], ConfigError, r"train.clip must be above 0, found -1"),
    (["data.held_out.share=0.0"], ConfigError, r"nothing is held out to evaluate on; set data.held_out.share"),
    (["data.pack.length=100"], ShapeError, r"data.pack.length is 100, but the model's context is 64 tokens"),
    (["base=some/model"], ConfigError, "give either base"),
]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("recipe"))


@pytest.mark.parametrize(("changes", "kind", "says"), CASES, ids=[changes[0] for changes, *_ in CASES])
def test_one_sentence_with_the_remedy(
    recipe: Path, tmp_path: Path, changes: list[str], kind: type[DanluError], says: str
) -> None:
    with pytest.raises(kind, match=says) as caught:
        train(recipe, ["train.tokens=256", *changes], out=tmp_path / "out", quiet=True)
    assert "\n" not in str(caught.value)


def test_the_command_ends_with_2_and_the_sentence(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["train", str(recipe), "train.step=5", "--out", str(tmp_path / "out")])
    assert code == 2
    assert capsys.readouterr().err.startswith("danlu: ")


def base_of(folder: Path, vocab: int, *, tokenizer: bool = True) -> Path:
    own = make_tokenizer(folder / "own") if tokenizer else None
    danlu.save(tiny_model(vocab=vocab), own, folder / "base")
    return folder / "base"


def sft(folder: Path, **changes: Any) -> Path:
    path = write_recipe(folder, base=str(folder / "base"), **changes)
    lines = [line for line in path.read_text().splitlines(keepends=True) if "LLAMA" not in line]
    text = "".join(lines)
    cut = text.index("architecture:"), text.index("base:")
    path.write_text(text[: cut[0]] + text[cut[1] :])
    return path


def test_a_tokenizer_larger_than_the_model_is_a_shape_error(tmp_path: Path) -> None:
    base_of(tmp_path, vocab=100)
    with pytest.raises(
        ShapeError, match=r"has 320 ids, but the model's embedding has 100 rows; train with the model's own"
    ):
        train(sft(tmp_path), out=tmp_path / "out", quiet=True)


def test_a_base_without_tokenizer_says_so(tmp_path: Path) -> None:
    base_of(tmp_path, vocab=320, tokenizer=False)
    with pytest.raises(ConfigError, match=r"holds no tokenizer; name one with tokenizer: PATH"):
        train(sft(tmp_path, tokenizer=None), out=tmp_path / "out", quiet=True)


def test_a_truncated_base_is_refused(tmp_path: Path) -> None:
    file = base_of(tmp_path, vocab=320) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match=r"model.safetensors"):
        train(sft(tmp_path), out=tmp_path / "out", quiet=True)


def test_a_changed_final_folder_is_refused_as_base(tmp_path: Path) -> None:
    """final/ is sealed: one flipped bit of it is seen when it becomes the base of the next run."""
    train(write_recipe(tmp_path, hooks=["log"]), ["train.steps=1"], out=tmp_path / "first", quiet=True)
    (tmp_path / "first" / "final").rename(tmp_path / "base")
    file = tmp_path / "base" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-9] ^= 4
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"SHA-256 differs"):
        train(sft(tmp_path), out=tmp_path / "out", quiet=True)


def test_llama_is_what_the_recipe_says() -> None:
    """The fixtures above speak of 64 tokens of context and 32 a row."""
    assert LLAMA["context"] == 64


def test_the_command_closes_with_where_the_model_lies(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also without a single hook, when nothing was logged to report a speed from."""
    assert main(["train", str(recipe), "hooks=[]", "train.steps=1", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert f"model    {tmp_path / 'out' / 'final'}" in said
    assert "tokens/s" not in said
    assert (tmp_path / "out" / "final" / "model.safetensors").exists()
