"""The look before training tells what training would do, and the verbs print it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from data_tokenizer import make_tokenizer

from danlu.cli import main
from danlu.data import DataRecipe, Pack, Source, build
from danlu.data.inspection import Shown, inspect
from danlu.data.show import inspection_lines, told
from danlu.tokenize import Tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    path = tmp_path / "chats.jsonl"
    long = [{"prompt": "why 明月", "response": "word " * 200}]
    rows = [{"prompt": f"why {i} 明月", "response": "so it is"} for i in range(30)] + long
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def test_it_counts_what_building_counts(chats: Path, tokenizer: Tokenizer) -> None:
    found = inspect(Source(from_=str(chats)), tokenizer, length=64)
    recipe = DataRecipe(parts=[Source(from_=str(chats))], pack=Pack(length=64), cache=str(chats.parent / "cache"))
    source = build(recipe, tokenizer, quiet=True).report["sources"][0]
    assert (found.rows, found.whole) == (31, True)
    assert found.tokens == source["tokens"]["train"]
    assert found.supervised == source["supervised"]["train"]
    assert found.cut.reasons == source["cut"]
    assert found.cut.reasons["too long, row dropped"]["examples"] == [f"{chats}:31"]
    assert {f"p{p}": found.percentile(p / 100) for p in (5, 25, 50, 75, 95, 99, 100)} == source["lengths"]
    assert sum(count for _, _, count in found.histogram()) == 30
    assert all(first <= size <= last for size in found.sizes[:1] for first, last, n in found.histogram() if n == 30)


def test_a_limit_says_that_there_is_more(chats: Path, tokenizer: Tokenizer) -> None:
    found = inspect(Source(from_=str(chats)), tokenizer, limit=10, show=2)
    assert (found.rows, found.whole, len(found.shown)) == (10, False, 2)
    assert "there are more" in "\n".join(inspection_lines(found, color=False))


def test_tokens_are_shown_with_their_weights_and_whole_characters(chats: Path, tokenizer: Tokenizer) -> None:
    found = inspect(Source(from_=str(chats)), tokenizer, show=1)
    (shown,) = found.shown
    text = "<|im_start|>user\nwhy 0 明月<|im_end|>\n<|im_start|>assistant\nso it is<|im_end|>\n"
    assert "".join(piece for piece, _ in shown.pieces) == text
    assert "".join(piece for piece, weight in shown.pieces if weight) == "so it is<|im_end|>"
    assert told(shown, color=False) == text.replace("so it is<|im_end|>", "⟦so it is<|im_end|>⟧")
    assert told(Shown("", [("a", 0.0), ("b", 0.5), ("c", 0.5), ("d", 1.0)]), color=False) == "a⟦×0.5 bc⟧⟦d⟧"
    assert told(Shown("", [("a", 0.0), ("b", 1.0)]), color=True) == "\x1b[2ma\x1b[0m\x1b[1;32mb\x1b[0m"


def test_the_verb_inspect(chats: Path, tokenizer: Tokenizer, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer.save(chats.parent / "tokenizer")
    code = main(["data", "inspect", str(chats), "--tokenizer", str(chats.parent / "tokenizer"), "--length", "64"])
    said = capsys.readouterr().out
    assert code == 0
    assert "⟦so it is<|im_end|>⟧" in said
    assert "too long, row dropped: 1 rows (3.2 %)" in said
    assert main(["data", "inspect", str(chats), "--tokenizer", str(chats.parent / "tokenizer"), "--columns", "a"]) == 2
    assert "write field=column" in capsys.readouterr().err


def test_the_verb_build(chats: Path, tokenizer: Tokenizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer.save(tmp_path / "tokenizer")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"architecture: {{use: llama, model: 32, layers: 1, heads: 2, context: 64}}\ntokenizer: {tmp_path / 'tokenizer'}\n"
        f"data: {{parts: [{{from: {chats}}}], pack: {{length: 64}}, cache: {tmp_path / 'cache'}}}\ntrain: {{steps: 1}}\n"
    )
    assert main(["data", "build", str(recipe), "--quiet"]) == 0
    first = capsys.readouterr().out
    assert "31 rows of 1 file(s), history" in first
    assert "train 30 documents" in first
    assert f"{chats}:31" in first
    assert "made in" in first
    assert main(["data", "build", str(recipe), "data.pack.length=65", "--quiet"]) == 0
    assert "made in" in capsys.readouterr().out
    assert main(["data", "build", str(recipe), "--quiet"]) == 0
    assert "found in" in capsys.readouterr().out


def test_help_needs_nothing_heavy() -> None:
    code = "import sys; from danlu.cli import data; assert not {'torch', 'numpy', 'tokenizers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
