"""Any text comes back; any ids decode piece by piece as they do at once."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tokenizer_corpus import TEXTS, trained

from danlu.tokenize.pieces import SPACE

pytest.importorskip("sentencepiece", reason="unigram vocabularies are trained by the extra 'sentencepiece'")

LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters=SPACE)
PARTS = st.sampled_from(
    ["<|im_end|>", "<0x0A>", "<unk>", "  ", "\n", "\r\n", "'LL", "ſ", "灯塔", "🦙", "e\u0301", *TEXTS[:8]]
)
TEXT = st.lists(st.one_of(st.text(LETTERS, max_size=20), PARTS), max_size=8).map("".join)
LOSSLESS = ("byte_bpe", "bpe_fallback", "unigram")


@pytest.mark.parametrize("kind", LOSSLESS)
@settings(max_examples=150, deadline=None)
@given(text=TEXT)
def test_every_text_comes_back(kind: str, text: str) -> None:
    tokenizer = trained(kind)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert not set(ids) & tokenizer.special_ids
    assert b"".join(map(tokenizer.piece_bytes, ids)) == text.encode()


@pytest.mark.parametrize("kind", [*LOSSLESS, "wordpiece", "char"])
@settings(max_examples=100, deadline=None)
@given(text=TEXT)
def test_decoding_one_by_one_is_decoding_at_once(kind: str, text: str) -> None:
    """And what was shown so far is always a beginning of the whole: no half character is ever shown."""
    tokenizer = trained(kind)
    ids = tokenizer.encode_marked(text)
    for skip in (True, False):
        decoder, shown = tokenizer.decoder(skip), ""
        whole = tokenizer.decode(ids, skip)
        for token in ids:
            shown += decoder.push(token)
            assert whole.startswith(shown)
        assert shown + decoder.flush() == whole


@settings(max_examples=150, deadline=None)
@given(ids=st.lists(st.integers(0, trained("byte_bpe").vocab_size - 1), max_size=30))
def test_any_ids_of_bytes_decode_alike(ids: list[int]) -> None:
    """Also ids that are no UTF-8 together."""
    tokenizer = trained("byte_bpe")
    decoder = tokenizer.decoder()
    assert "".join(map(decoder.push, ids)) + decoder.flush() == tokenizer.decode(ids)
