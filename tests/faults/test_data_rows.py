"""Rows that cannot be used end in one sentence with file, line and remedy; nothing is dropped in silence."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard
from data_tokenizer import PEAK, make_tokenizer

from danlu.core.errors import DanluError, DataError
from danlu.data import DataRecipe, Pack, Source, build, read_documents
from danlu.tokenize import Tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


GOOD = '{"text": "good"}\n'


@pytest.mark.parametrize(
    ("name", "content", "line", "sentence"),
    [
        ("a.jsonl", GOOD + '{"text": "cut\n' + GOOD, 2, "broken JSON"),
        ("a.jsonl", GOOD + '{"text": "a"} {"text": "b"}\n', 2, "broken JSON"),
        ("a.jsonl", GOOD * 40 + '{"other": "b"}\n', 41, "the column 'text' is missing"),
        ("a.jsonl", GOOD * 40 + "[1]\n", 41, "not an object"),
        ("a.jsonl", GOOD * 40 + '{"text": null}\n', 41, "null where text is expected"),
        ("a.jsonl", GOOD * 9 + '{"text": "half \\ud83d of a pair"}\n', 10, "surrogate pair"),
        ("a.jsonl", GOOD * 9 + '{"text": ' + "[" * 100_000 + "}\n", 10, "broken JSON"),
        ("a.json", '[\n{"text": "a"},\n{"text": "b"\n', 4, "broken JSON"),
        ("a.json", '[\n{"text": "a"}\n{"text": "b"}]', 3, "expected ','"),
        ("a.json", '[\n{"text": "a"},\n{"text" "b"},\n{"text": "c"}]', 3, "broken JSON"),
        ("a.json", '[{"text": "a"}]\n\n[{"text": "b"}]', 3, "more text after the end of the array"),
        ("a.json", '[{"text": "a"},\n\n]', 3, "broken JSON"),
        ("a.json", '{"text": "a"}\n{"text": "b"', 2, "broken JSON"),
        ("a.csv", "text,more\na,b\nc\n", 3, "1 fields under a header of 2"),
        ("a.csv", 'text\n"a\n', 2, "broken CSV"),
    ],
)
def test_broken_rows_are_named(name: str, content: str, line: int, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(DataError, match=sentence) as caught:
        list(read_documents(str(path)))
    assert Path(str(caught.value.file)) == path
    assert caught.value.line == line


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.txt", "a.md"])
def test_bytes_that_are_not_utf8(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    head = {"a.json": b'[\n{"text": "', "a.csv": b"text\n"}.get(name, b'{"text": "a"}\n{"text": "')
    path.write_bytes(head + "丹炉".encode("gb18030") + b'"}\n')
    with pytest.raises(DataError, match=r"not UTF-8 \(byte 0xb5\); convert the file") as caught:
        list(read_documents(str(path)))
    assert caught.value.line == 2


def test_bytes_cut_at_the_end_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("床前明月光".encode()[:-1])
    with pytest.raises(DataError, match="not UTF-8"):
        list(read_documents(str(path)))


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_a_compressed_file_that_is_cut(suffix: str, tmp_path: Path) -> None:
    text = "".join(json.dumps({"text": str(i * 7919 % 104729)}) + "\n" for i in range(20_000)).encode()
    packed = gzip.compress(text) if suffix == "gz" else zstandard.ZstdCompressor().compress(text)
    path = tmp_path / f"a.jsonl.{suffix}"
    path.write_bytes(packed[: len(packed) // 2])
    if suffix == "gz":
        with pytest.raises(DataError, match=r"a\.jsonl\.gz: is cut or damaged"):
            list(read_documents(str(path)))
    path.write_bytes(b"no such format")
    with pytest.raises(DataError, match=rf"a\.jsonl\.{suffix}: is cut or damaged"):
        list(read_documents(str(path)))


def test_a_fault_in_another_process_is_the_same_sentence(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(GOOD * 3000 + "{broken\n" + GOOD * 3000)
    recipe = DataRecipe(parts=[Source(from_=str(path))], pack=Pack(length=32), cache=str(tmp_path / "cache"))
    sentences = []
    for workers in (0, 2):
        with pytest.raises(DataError, match="broken JSON") as caught:
            build(recipe, tokenizer, quiet=True, workers=workers)
        sentences.append((str(caught.value), caught.value.line))
    assert sentences[0] == sentences[1]
    assert sentences[0][1] == 3001


def test_the_command_says_it_in_one_line_and_exits_with_2(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"messages": [{"role": "user", "content": "q"}, {"role": "wizard", "content": "a"}]}\n')
    tokenizer.save(tmp_path / "tokenizer")
    command = ["data", "inspect", str(path), "--tokenizer", str(tmp_path / "tokenizer")]
    done = subprocess.run([sys.executable, "-m", "danlu", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert f"{path}:1: unknown role 'wizard'; known are" in done.stderr


LINE = ("the quick fox jumps over the lazy dog " * 1_400_000)[: 50 << 20]
MEASURED = (
    PEAK
    + """
import sys
from danlu.data import DataRecipe, HeldOut, Pack, Source, build, read_documents
from danlu.tokenize import load_tokenizer
before = peak()
if sys.argv[3]:
    tokenizer = load_tokenizer(sys.argv[2])
    recipe = DataRecipe(parts=[Source(from_=sys.argv[1])], pack=Pack(length=512), cache=sys.argv[3])
    size = build(recipe, tokenizer, quiet=True, workers=0).train.tokens
else:
    size = sum(d.characters for d in read_documents(sys.argv[1]))
print(size, peak() - before)
"""
)


def measured(path: Path, tokenizer: Tokenizer, cache: str) -> tuple[int, int]:
    """What was read, and by how many MiB the process grew."""
    folder = path.parent / "tokenizer"
    tokenizer.save(folder)
    command = [sys.executable, "-c", MEASURED, str(path), str(folder), cache]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    size, mebibytes = done.stdout.split()
    return int(size), int(mebibytes)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize(("name", "most"), [("a.jsonl", 450), ("a.json", 450), ("a.csv", 450), ("a.txt", 60)])
def test_a_line_of_50_megabytes_is_read_in_bounded_memory(
    name: str, most: int, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    path = tmp_path / name
    wrapped = {"a.jsonl": f'{{"text": "{LINE}"}}\n', "a.json": f'[{{"text": "{LINE}"}}]', "a.csv": f"text\n{LINE}\n"}
    path.write_text(wrapped.get(name, LINE))
    size, mebibytes = measured(path, tokenizer, "")
    assert size == len(LINE)
    assert mebibytes < most  # a text file is never held whole, a row of the others is


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_a_line_of_50_megabytes_is_prepared_in_bounded_memory(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"text": "{LINE}"}}\n')
    tokens, mebibytes = measured(path, tokenizer, str(tmp_path / "cache"))
    assert tokens > 5_000_000
    assert mebibytes < 850  # sixteen times the line, whatever else the file holds


def test_an_id_beyond_the_vocabulary_is_noticed_while_preparing(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(GOOD)
    broken = make_tokenizer(tmp_path / "broken")
    vars(broken)["vocab_size"] = 50  # what a vocabulary file that lost its end would say
    recipe = DataRecipe(parts=[Source(from_=str(path))], pack=Pack(length=32), cache=str(tmp_path / "cache"))
    with pytest.raises(DataError, match=r"a\.jsonl: the tokenizer gave the id \d+ beyond its vocabulary of 50"):
        build(recipe, broken, quiet=True)


def test_a_text_without_a_single_space_is_cut_all_the_same(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x" * 3_000_000)
    recipe = DataRecipe(parts=[Source(from_=str(path))], pack=Pack(length=512), cache=str(tmp_path / "cache"))
    made = build(recipe, tokenizer, quiet=True, workers=0)
    assert made.train.rows > 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_one_may_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(GOOD)
    path.chmod(0)
    with pytest.raises(DanluError, match="cannot be read"):
        list(read_documents(str(path)))
