"""BPE on characters: rare ones by their bytes, merges by count."""

from __future__ import annotations

import itertools
from collections import Counter

from tests.tokenizer_corpus import TEXTS, trained

from danlu.tokenize import train


def test_a_character_never_seen_is_spelled_by_its_bytes() -> None:
    tokenizer = trained("bpe_fallback")
    assert "🦙" not in "".join(TEXTS[:8])
    assert [tokenizer.piece(token) for token in tokenizer.encode("🦙")] == ["<0xF0>", "<0x9F>", "<0xA6>", "<0x99>"]
    assert tokenizer.decode(tokenizer.encode("a🦙灯")) == "a🦙灯"
    assert [tokenizer.piece_bytes(token) for token in tokenizer.encode("\n")] == [b"\n"]


def test_every_merge_joins_the_most_frequent_pair() -> None:
    text = "low low low low low lower lower newest newest newest newest newest newest widest widest widest"
    kind = {"use": "bpe_fallback", "letters": 1.0}
    tokenizer = train(iter([text]), kind, vocab=2 + 256 + 12 + 10, specials=("<|endoftext|>",))
    words = Counter(("▁", *word) if place else tuple(word) for place, word in enumerate(text.split(" ")))
    merges = [tuple(pair) for pair in tokenizer.description["model"]["merges"]]
    assert merges
    for left, right in merges:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, times in words.items():
            for pair in itertools.pairwise(word):
                pairs[pair] += times
        assert pairs[left, right] == max(pairs.values())
        words = _merged(words, left, right)


def test_the_alphabet_takes_the_most_frequent_characters() -> None:
    text = "aaaa bbbb cc " * 3 + "z"
    tokenizer = train(iter([text]), {"use": "bpe_fallback", "letters": 0.5}, vocab=1 + 256 + 8, specials=())
    single = {piece for piece in map(tokenizer.piece, range(257, tokenizer.vocab_size)) if len(piece) == 1}
    assert single == {"a", "b", "c", "▁"}


def test_ids_stand_in_order() -> None:
    tokenizer = trained("bpe_fallback")
    assert tokenizer.unk == 4
    assert [tokenizer.piece(5 + byte) for byte in (0, 10, 255)] == ["<0x00>", "<0x0A>", "<0xFF>"]


def _merged(words: Counter[tuple[str, ...]], left: str, right: str) -> Counter[tuple[str, ...]]:
    out: Counter[tuple[str, ...]] = Counter()
    for word, times in words.items():
        parts, at = [], 0
        while at < len(word):
            step = 2 if word[at : at + 2] == (left, right) else 1
            parts.append("".join(word[at : at + step]))
            at += step
        out[tuple(parts)] += times
    return out
