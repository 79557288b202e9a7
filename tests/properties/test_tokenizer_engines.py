"""The fast engines give the reference's ids on any text, and grown vocabularies too."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tokenizer_corpus import CHINESE, TEXTS, trained

from danlu.tokenize import Tokenizer, extend
from danlu.tokenize.engines.reference import Reference

pytest.importorskip("tiktoken", reason="needs the extra 'tiktoken'")
pytest.importorskip("sentencepiece", reason="needs the extra 'sentencepiece'")

LETTERS = st.characters(exclude_categories=["Cs"])
PARTS = st.sampled_from([*TEXTS, "<|pad|>", "▁", "'ſ", "K", "\x85", "a" * 40, " " * 9, "1" * 9])
TEXT = st.lists(st.one_of(st.text(LETTERS, max_size=30), PARTS), max_size=8).map("".join)


@cache
def _grown() -> Tokenizer:
    return extend(trained("byte_bpe"), iter([a + b for a in CHINESE for b in CHINESE] * 3), add=100).tokenizer


@pytest.mark.parametrize("kind", ["byte_bpe", "unigram", "grown"])
@settings(max_examples=250, deadline=None)
@given(text=TEXT)
def test_same_ids(kind: str, text: str) -> None:
    tokenizer = _grown() if kind == "grown" else trained(kind)
    assert not isinstance(tokenizer.engine, Reference)
    assert tokenizer.encode_batch([text]) == [tokenizer.encode(text)]


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(TEXT, max_size=5))
def test_a_batch_is_its_texts(texts: list[str]) -> None:
    for kind in ("byte_bpe", "bpe_fallback", "unigram", "wordpiece", "char"):
        tokenizer = trained(kind)
        assert tokenizer.encode_batch(texts) == [tokenizer.encode(text) for text in texts]
