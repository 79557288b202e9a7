"""What is held out never trains: by hash, by position as nanoGPT cuts, or whole sources."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from data_tokenizer import make_tokenizer

from danlu.core.errors import DataError
from danlu.data import DataRecipe, HeldOut, Pack, Source, Stock, build
from danlu.tokenize import Tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def texts(stock: Stock, tokenizer: Tokenizer) -> list[str]:
    """The documents of a stock, decoded."""
    found = []
    for part in stock.parts:
        starts = part.documents.starts
        for a, b in itertools.pairwise(starts):
            found.append(tokenizer.decode(part.documents.read(int(a), int(b)).tolist()))
    return found


def rows(folder: Path, name: str, values: list[str]) -> str:
    path = folder / name
    path.write_text("".join(json.dumps({"text": value}) + "\n" for value in values))
    return str(path)


def recipe(folder: Path, *sources: str, held_out: HeldOut, rows: str = "packed") -> DataRecipe:
    pack = Pack(length=64, rows=rows)  # type: ignore[arg-type]
    parts = [Source(from_=source) for source in sources]
    return DataRecipe(parts=parts, pack=pack, held_out=held_out, cache=str(folder / "cache"))


def test_by_hash_the_sides_are_disjoint_and_duplicates_stay_together(tmp_path: Path, tokenizer: Tokenizer) -> None:
    values = [f"row {i % 500}" for i in range(1500)]  # each three times, once in another file
    first, second = rows(tmp_path, "a.jsonl", values[:1000]), rows(tmp_path, "b.jsonl", values[1000:])
    made = build(recipe(tmp_path, first, second, held_out=HeldOut(share=0.2)), tokenizer, quiet=True)
    train, held = texts(made.train, tokenizer), texts(made.held_out, tokenizer)
    assert len(train) + len(held) == 1500
    assert not set(train) & set(held)
    assert 0.14 < len(set(held)) / 500 < 0.26
    assert all(held.count(text) == 3 for text in set(held))


def test_by_hash_a_row_stays_on_its_side_when_others_come(tmp_path: Path, tokenizer: Tokenizer) -> None:
    few = build(
        recipe(tmp_path, rows(tmp_path, "a.jsonl", [f"row {i}" for i in range(300)]), held_out=HeldOut(share=0.2)),
        tokenizer,
        quiet=True,
    )
    more = [f"new {i}" for i in range(50)] + [f"row {i}" for i in range(300)]
    many = build(recipe(tmp_path, rows(tmp_path, "b.jsonl", more), held_out=HeldOut(share=0.2)), tokenizer, quiet=True)
    assert set(texts(few.held_out, tokenizer)) <= set(texts(many.held_out, tokenizer))


def test_by_tail_one_text_is_cut_as_nanogpt_cuts_it(shared: Path, tmp_path: Path, tokenizer: Tokenizer) -> None:
    source = shared / "lm" / "tinyshakespeare.txt"
    data = source.read_text()
    n = len(data)
    made = build(
        recipe(tmp_path, str(source), held_out=HeldOut(share=0.1, by="tail"), rows="windows"), tokenizer, quiet=True
    )
    assert "".join(texts(made.train, tokenizer)) == data[: int(n * 0.9)]
    assert "".join(texts(made.held_out, tokenizer)) == data[int(n * 0.9) :]


def test_by_tail_rows_are_cut_by_characters_over_all_files(tmp_path: Path, tokenizer: Tokenizer) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    rows(folder, "a.jsonl", ["a" * 10] * 6)
    rows(folder, "b.jsonl", ["b" * 20] * 2)  # 100 characters, the last 30 are held out
    made = build(recipe(tmp_path, str(folder), held_out=HeldOut(share=0.3, by="tail")), tokenizer, quiet=True)
    assert texts(made.train, tokenizer) == ["a" * 10] * 6 + ["b" * 10]
    assert texts(made.held_out, tokenizer) == ["b" * 10, "b" * 20]


def test_by_tail_a_conversation_is_not_torn(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "chat.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"q{i}", "response": "word " * 5}) + "\n" for i in range(10)))
    made = build(recipe(tmp_path, str(path), held_out=HeldOut(share=0.25, by="tail")), tokenizer, quiet=True)
    train, held = texts(made.train, tokenizer), texts(made.held_out, tokenizer)
    assert len(train) + len(held) == 10
    assert [text for i, text in enumerate(train) if f"q{i}" in text] == train
    assert len(held) in (2, 3)


def test_named_sources_are_held_out_whole(tmp_path: Path, tokenizer: Tokenizer) -> None:
    train, apart = rows(tmp_path, "a.jsonl", ["one", "two"]), rows(tmp_path, "b.jsonl", ["three", "four"])
    held_out = HeldOut(sources=[Source(from_=apart)])
    made = build(recipe(tmp_path, train, held_out=held_out), tokenizer, quiet=True)
    assert texts(made.train, tokenizer) == ["one", "two"]
    assert texts(made.held_out, tokenizer) == ["three", "four"]


def test_nothing_held_out_is_said(tmp_path: Path, tokenizer: Tokenizer) -> None:
    source = rows(tmp_path, "a.jsonl", ["one"])
    with pytest.raises(DataError, match=r"no row fell into held_out\.share = 0\.01 by hash; raise the share"):
        build(recipe(tmp_path, source, held_out=HeldOut(share=0.01)), tokenizer, quiet=True)
    without = build(recipe(tmp_path, source, held_out=HeldOut()), tokenizer, quiet=True)
    assert not without.held_out
