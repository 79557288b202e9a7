"""Broken vocabularies and texts: one sentence with the file and the remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.tokenizer_corpus import trained

from danlu.cli import main
from danlu.core.errors import DanluError, DataError
from danlu.tokenize import load_tokenizer, train

BROKEN = {
    "tokenizer.json": ['{"version": "1.0", "model"', "[]", '{"model": {"type": "BPE", "vocab": 3}}', ""],
    "vocab.txt": ["a\nb\n", "[UNK]\na\na\n", ""],
    "vocab.json": ['{"a": 0', "[1]", '{"a": 0, "b": 0}', '{"a": "x"}'],
    "tokenizer.model": ["hello", ""],
    "pieces.jsonl": ['["a", 0]\n', "{\n", '["a", 0.0, 1]\n["a", 0.0, 1]\n'],
}


@pytest.mark.parametrize(("name", "content"), [(name, text) for name, texts in BROKEN.items() for text in texts])
def test_a_broken_vocabulary(tmp_path: Path, name: str, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_text(content)
    (tmp_path / "merges.txt").write_text("a b\n")
    assert main(["tokenizer", "inspect", str(tmp_path / name)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert name in said or "SentencePiece" in said


def test_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(DataError, match="not UTF-8 at byte 7"):
        load_tokenizer(tmp_path)
    (tmp_path / "text.txt").write_bytes(b"good\nbad \xe4\xb8")
    with pytest.raises(DataError, match="ends inside a character"):
        train(tmp_path / "text.txt", "char")
    (tmp_path / "text.txt").write_bytes(b"good\nbad \xff\xfe more")
    with pytest.raises(DataError, match=r"text\.txt: not UTF-8 near byte 9"):
        train(tmp_path / "text.txt", "char")


def test_merges_that_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text('{"a": 0, "b": 1}')
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n")
    with pytest.raises(DataError, match=r"merges\.txt:2: 'ab' is not in the vocab\.json"):
        load_tokenizer(tmp_path)
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b c\n")
    with pytest.raises(DataError, match=r"merges\.txt:2: a merge is two pieces, found 3"):
        load_tokenizer(tmp_path)
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(DataError, match=r"merges\.txt: is missing; vocab\.json is read together with it"):
        load_tokenizer(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no vocabulary; what is read"):
        load_tokenizer(tmp_path)
    with pytest.raises(DataError, match="no such file or directory"):
        load_tokenizer(tmp_path / "none" / "at" / "all")


def test_a_configuration_that_contradicts(tmp_path: Path) -> None:
    trained("byte_bpe").save(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config["added_tokens_decoder"] = {"77": {"content": "<|im_end|>", "special": True}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match=r"gives '<\|im_end\|>' id 2, tokenizer_config.json gives it 77"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(DanluError, match=r"tokenizer_config\.json:1: broken JSON"):
        load_tokenizer(tmp_path)


def test_texts_and_ids_out_of_range() -> None:
    tokenizer = trained("byte_bpe")
    for call in (tokenizer.encode, tokenizer.encode_marked, lambda text: tokenizer.encode_batch([text])):
        with pytest.raises(DataError, match="half a surrogate pair"):
            call("a\ud800b")
    for ids in ([0, 640], [-1]):
        with pytest.raises(DataError, match="outside the vocabulary of 640"):
            tokenizer.decode(ids)


@pytest.mark.parametrize("rows", ['{"text": "a"}\n{"text": \n', '{"text": "a"}\n\xff\n'])
def test_rows_that_are_no_json(tmp_path: Path, rows: str) -> None:
    (tmp_path / "rows.jsonl").write_bytes(rows.encode("latin-1"))
    with pytest.raises(DataError, match=r"rows\.jsonl:2: "):
        train(tmp_path, "char")
