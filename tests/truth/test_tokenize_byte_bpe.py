"""Byte-level BPE against the textbook's example and against counting anew at every step."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from tests.tokenizer_corpus import ENGLISH, corpus, trained

from danlu.core.errors import ConfigError
from danlu.tokenize import train
from danlu.tokenize.pieces import read_byte_level


def test_the_textbook_example(shared: Path) -> None:
    """aaabdaaabac: aa, then aab or ab, then aaab; ids of bytes are their values."""
    for case in json.loads((shared / "tokenizers/known_ids.json").read_text())["bpe_training"]:
        tokenizer = train(iter([case["text"]]), "byte_bpe", vocab=256 + case["merges"], specials=())
        assert tokenizer.encode(case["text"]) == case["ids"]
        assert tokenizer.vocab_size == case["first_new_id"] + case["merges"]


def test_every_merge_joins_the_most_frequent_pair() -> None:
    """Replays the training on words counted by a regular expression of our own: no pair may be more frequent."""
    letters = re.compile(r"[a-z]+")
    text = " ".join(ENGLISH).lower()
    only_letters = " ".join(letters.findall(text))
    tokenizer = train(iter([only_letters]), "byte_bpe", vocab=256 + 60, specials=())
    found = re.findall(r" ?[a-z]+", only_letters)
    words = Counter(tuple(bytes([b]) for b in word.encode()) for word in found)
    for left, right in _merges(tokenizer):
        pairs = Counter()
        for word, times in words.items():
            for pair in itertools.pairwise(word):
                pairs[pair] += times
        assert pairs[left, right] == max(pairs.values()) >= 2
        words = Counter({_joined(word, left, right): times for word, times in words.items()})


def test_encoding_applies_the_merges_in_their_order() -> None:
    tokenizer = trained("byte_bpe")
    ranks = {pair: rank for rank, pair in enumerate(_merges(tokenizer))}
    for word in (" lighthouse", "灯塔的看守人", " evening", "returning"):
        parts = [bytes([b]) for b in word.encode()]
        while True:
            pairs = [p for p in itertools.pairwise(parts) if p in ranks]
            if not pairs:
                break
            parts = list(_joined(tuple(parts), *min(pairs, key=ranks.__getitem__)))
        assert [tokenizer.piece_bytes(token) for token in tokenizer.encode(word)] == parts


@pytest.mark.parametrize(("digits", "cut"), [("single", 1), ("triple", 3), ("joined", 7)])
def test_digits_are_cut_as_told(digits: str, cut: int) -> None:
    tokenizer = train(iter(["1234567 1234567 " * 20]), "byte_bpe", vocab=300, digits=digits)
    pieces = [tokenizer.piece_bytes(token) for token in tokenizer.encode("1234567")]
    assert max(map(len, pieces)) == cut
    assert b"".join(pieces) == b"1234567"


def test_ids_stand_in_order() -> None:
    tokenizer = trained("byte_bpe")
    assert [tokenizer.piece(i) for i in range(4)] == ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
    assert [tokenizer.piece_bytes(4 + byte) for byte in range(256)] == [bytes([byte]) for byte in range(256)]
    assert (tokenizer.bos, tokenizer.eos, tokenizer.pad, tokenizer.unk) == (0, 0, 3, None)
    assert tokenizer.stops == (0, 2)


def test_normalization() -> None:
    tokenizer = train(iter(corpus()), "byte_bpe", vocab=300, normalization="nfkc_lowercase")
    assert tokenizer.decode(tokenizer.encode("ＡＢＣ ﬁ É")) == "abc fi é"


def test_settings_that_do_not_exist() -> None:
    with pytest.raises(ConfigError, match="at least 260"):
        train(iter(["x"]), "byte_bpe", vocab=100)
    with pytest.raises(ConfigError, match="joined, single, triple"):
        train(iter(["x"]), "byte_bpe", digits="two")
    with pytest.raises(ConfigError, match=r"no setting \['digit'\]"):
        train(iter(["x"]), {"use": "byte_bpe", "digit": "single"})


def _merges(tokenizer) -> list[tuple[bytes, bytes]]:
    return [(read_byte_level(a), read_byte_level(b)) for a, b in tokenizer.description["model"]["merges"]]


def _joined(word: tuple[bytes, ...], left: bytes, right: bytes) -> tuple[bytes, ...]:
    out: list[bytes] = []
    at = 0
    while at < len(word):
        if word[at : at + 2] == (left, right):
            out.append(left + right)
            at += 2
        else:
            out.append(word[at])
            at += 1
    return tuple(out)
