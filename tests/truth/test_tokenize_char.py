"""A character a token: ids are places in the sorted set."""

from __future__ import annotations

from pathlib import Path

from danlu.tokenize import train


def test_shakespeare_has_65_characters(shared: Path) -> None:
    file = shared / "lm/tinyshakespeare.txt"
    text = file.read_text()
    tokenizer = train(file, "char", vocab=200, specials=())
    letters = sorted(set(text))
    assert len(letters) == 65
    assert tokenizer.vocab_size == 66  # and <unk>
    assert tokenizer.encode(text[:5000]) == [1 + letters.index(letter) for letter in text[:5000]]
    assert tokenizer.decode(tokenizer.encode(text[:5000])) == text[:5000]


def test_what_was_not_seen_is_unknown() -> None:
    tokenizer = train(iter(["abc"]), "char")
    assert tokenizer.encode("axb") == [tokenizer.id("a"), tokenizer.unk, tokenizer.id("b")]
    assert tokenizer.unk == 4


def test_the_most_frequent_get_in() -> None:
    tokenizer = train(iter(["aaabbbcx"]), "char", vocab=3, specials=())
    assert [tokenizer.piece(token) for token in range(3)] == ["<unk>", "a", "b"]
