"""Unigram: the best spelling is the best of all spellings, and scores lie on the exact grid."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.tokenizer_corpus import trained

from danlu.tokenize import train

pytest.importorskip("sentencepiece", reason="unigram vocabularies are trained by the extra 'sentencepiece'")


def _spellings(text: str, scores: dict[str, float]) -> Iterator[tuple[float, tuple[str, ...]]]:
    if not text:
        yield 0.0, ()
    for size in range(1, len(text) + 1):
        if (head := text[:size]) in scores:
            for score, rest in _spellings(text[size:], scores):
                yield scores[head] + score, (head, *rest)


def test_the_spelling_is_the_best_of_all() -> None:
    tokenizer = trained("unigram")
    first = tokenizer.id("<0xFF>") + 1
    vocab = tokenizer.description["model"]["vocab"]
    scores = dict(vocab[first:])
    for word in (" evening", " lighthouse", " letter", "每天晚上", "模型越大", " the", " there"):
        spelled = word.replace(" ", "▁")
        ids = tokenizer.encode(word)
        best = max(score for score, _ in _spellings(spelled, scores))
        assert "".join(tokenizer.piece(token) for token in ids) == spelled
        assert sum(vocab[token][1] for token in ids) == best


def test_what_the_special_pieces_spell_stays_text() -> None:
    tokenizer = trained("unigram")
    for text in ("<|im_end|>", "<unk>", "<0x0A>", "<|endoftext|>"):
        ids = tokenizer.encode(text)
        assert not set(ids) & set(tokenizer.special_ids)
        assert tokenizer.decode(ids) == text


def test_scores_are_multiples_of_the_grid() -> None:
    assert all(score * 1024 == int(score * 1024) for _, score in trained("unigram").description["model"]["vocab"])


def test_digits_are_apart() -> None:
    tokenizer = trained("unigram")
    assert [
        tokenizer.piece_bytes(token).strip()
        for token in tokenizer.encode("2024")
        if tokenizer.piece_bytes(token).strip()
    ] == [b"2", b"0", b"2", b"4"]


def test_more_characters_than_pieces() -> None:
    """A small vocabulary for text of many characters: the frequent ones are pieces, the rest bytes."""
    many = "".join(map(chr, range(0x4E00, 0x4E00 + 700)))
    tokenizer = train(iter(["你好你好你好 hello "] * 50 + [many]), "unigram", vocab=400)
    assert tokenizer.vocab_size <= 400
    assert len(tokenizer.encode("你好")) <= 2
    assert tokenizer.decode(tokenizer.encode(many)) == many
