"""WordPiece: the longest piece that fits, BERT's own published examples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.tokenizer_corpus import ENGLISH, trained

from danlu.core.errors import DataError
from danlu.tokenize import load_tokenizer


def _bert(folder: Path, pieces: list[str], lower: bool = True):
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": lower}))
    return load_tokenizer(folder)


def test_the_examples_of_bert(shared: Path, tmp_path: Path) -> None:
    known = json.loads((shared / "tokenizers/known_ids.json").read_text())
    case = known["bert_full_tokenizer"]
    tokenizer = _bert(tmp_path, case["vocab"])
    ids = tokenizer.encode(case["text"])
    assert ids == case["ids"]
    assert [tokenizer.piece(token) for token in ids] == case["tokens"]
    text, pieces = known["wordpiece_unknown"]
    assert [tokenizer.piece(token) for token in tokenizer.encode(text)] == pieces


def test_the_words_of_bert(shared: Path, tmp_path: Path) -> None:
    cases = json.loads((shared / "tokenizers/known_ids.json").read_text())["bert_basic"]
    pieces = ["[UNK]", *dict.fromkeys(word for _, words, _ in cases for word in words)]
    for text, words, lower in cases:
        tokenizer = _bert(tmp_path, pieces, lower)
        assert [tokenizer.piece(token) for token in tokenizer.encode(text)] == words


def test_each_piece_is_the_longest_that_fits() -> None:
    tokenizer = trained("wordpiece")
    vocab = {tokenizer.piece(token) for token in range(tokenizer.vocab_size)}
    for word in {w.strip("().,;?'").lower() for text in ENGLISH for w in text.split()}:
        if not word.isalpha() or not word.isascii():
            continue
        expected, rest, mark = [], word, ""
        while rest:
            size = next(n for n in range(len(rest), 0, -1) if mark + rest[:n] in vocab)
            expected.append(mark + rest[:size])
            rest, mark = rest[size:], "##"
        assert [tokenizer.piece(token) for token in tokenizer.encode(word)] == expected


def test_special_tokens_surround_a_text_when_asked(tmp_path: Path) -> None:
    tokenizer = _bert(tmp_path, ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "go", "##ing"])
    assert tokenizer.encode("going") == [4, 5]
    assert tokenizer.encode("going", special=True) == [2, 4, 5, 3]
    assert tokenizer.decode([2, 4, 5, 3]) == "going"
    assert (tokenizer.pad, tokenizer.unk, tokenizer.bos, tokenizer.eos) == (0, 1, 2, 3)


def test_a_vocabulary_with_a_piece_twice(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none twice"):
        _bert(tmp_path, ["[UNK]", "a", "a"])
