"""Perplexity of models whose surprise is known, and windows that cover each token once."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from danlu.core.errors import ConfigError, DataError
from danlu.evaluate.perplexity import perplexity, windows


@pytest.mark.parametrize("stride", [1, 3, 7, None])
@pytest.mark.parametrize("bos", [False, True])
def test_a_uniform_model(characters, uniform, stride: int | None, bos: bool) -> None:
    texts = ["the cat sat on the mat", "é!", "x" * 30]
    result = perplexity(characters(uniform, context=8, bos=bos), texts, stride=stride)
    given = 0 if bos else 3
    assert result.tokens == 22 + 2 + 30 - given
    assert result.bytes_ == 22 + 3 + 30 - (given and 4)
    assert result.per_token == pytest.approx(256)
    assert result.bits_per_byte == pytest.approx(8 * result.tokens / result.bytes_)
    assert result.per_byte == pytest.approx(2**result.bits_per_byte)
    assert result.per_word == pytest.approx(256 ** (result.tokens / 8))
    assert (result.words, result.texts, result.context, result.stride) == (8, 3, 8, stride or 7)


def test_a_counted_model(characters) -> None:
    """Unigram frequencies of the text itself: perplexity is exp(entropy)."""
    text = "aabab"
    count = Counter(text[1:])

    def law(_, after):
        return sum(math.log(count[c] / 4) for c in after)

    result = perplexity(characters(law), [text])
    assert result.per_token == pytest.approx(math.exp(-sum(n / 4 * math.log(n / 4) for n in count.values())))


@pytest.mark.parametrize("length", range(2, 40))
@pytest.mark.parametrize(("context", "stride"), [(8, 7), (8, 4), (8, 1), (2, 1), (64, 32)])
def test_windows_score_each_token_once_with_the_promised_context(length: int, context: int, stride: int) -> None:
    ids = list(range(length))
    rows = list(windows(ids, context, stride))
    assert [i for _, scored in rows for i in scored] == ids[1:]
    for given, scored in rows:
        assert given + scored == list(range(given[0], scored[-1] + 1))
        assert len(given) + len(scored) <= context
    assert all(len(given) == context - stride for given, _ in rows[1:])


def test_what_cannot_be_measured(characters, uniform) -> None:
    with pytest.raises(ConfigError, match="stride 8 does not lie within 1 … 7"):
        perplexity(characters(uniform, context=8), ["text"], stride=8)
    with pytest.raises(DataError, match="two tokens or more"):
        perplexity(characters(uniform), ["", "x"])
