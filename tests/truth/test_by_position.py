"""Loss by position: a scorer whose surprise is a known function of the place, and models read beyond their context."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from talkers import small_model, small_tokenizer

from danlu.core.errors import ConfigError, DanluError, DataError
from danlu.core.ports import Score
from danlu.evaluate.by_position import by_position
from danlu.infer import Local

TEXT = "the end of the beginning, 你好 the naïve world; " * 12


class Placed:
    """A token a character; the surprise of the token at place t of a window is t squared, plus the text's own digit."""

    context = 100

    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]

    def byte_count(self, ids: Sequence[int]) -> int:
        return len(ids)

    def score(self, rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Score]:
        assert all(len(context) == 1 for context, _ in rows)
        return [
            Score(tuple(-float(t * t) - (i - 48) for t, i in enumerate(after, 1)), (False,) * len(after))
            for _, after in rows
        ]


def test_each_bin_is_the_mean_of_its_places() -> None:
    """Three windows whose digits add 1, 2 and 6 to every loss; what is left of a text is not scored."""
    result = by_position(Placed(), ["1" * 12 + "2" * 12 + "9" * 11, "6" * 12, "5" * 3], length=12, bins=4)
    assert [(one.first, one.last) for one in result.bins] == [(1, 2), (3, 5), (6, 8), (9, 11)]
    for one in result.bins:
        places = range(one.first, one.last + 1)
        assert one.loss == pytest.approx(sum(t * t for t in places) / len(places) + 3)
        assert one.stderr == pytest.approx(math.sqrt(((1 - 3) ** 2 + (2 - 3) ** 2 + (6 - 3) ** 2) / 2 / 3))
        assert one.write()["tokens"] == 3 * len(places)
    assert (result.windows, result.texts, result.short) == (3, 3, 1)


@pytest.mark.parametrize("length", [2, 3, 17, 64, 100])
def test_bins_cover_every_predicted_place_once(length: int) -> None:
    for bins in {1, 2, 5, 16, length - 1} & set(range(1, length)):
        found = by_position(Placed(), ["0" * length], length=length, bins=bins).bins
        assert [t for one in found for t in range(one.first, one.last + 1)] == list(range(1, length))


@pytest.mark.parametrize("position", ["rope", "none", "alibi", "sinusoidal", "learned"])
def test_beyond_the_context_each_place_is_what_the_model_says(position: str, tmp_path: Path) -> None:
    """Equal to log-softmax over whole windows of three times the context; a table has nothing to say there."""
    model, tokenizer = small_model("decoder", position=position, context=24), small_tokenizer(tmp_path)
    if position == "learned":
        with pytest.raises(
            DanluError, match="has a table of 24 positions and none beyond, so it cannot read 72 tokens"
        ):
            Local(model, tokenizer, reach=72)
        return
    result = by_position(Local(model, tokenizer, reach=72), [TEXT], length=72, bins=71)
    ids = torch.tensor(tokenizer.encode(TEXT))
    windows = ids[: len(ids) // 72 * 72].view(-1, 72)
    with torch.inference_mode():
        losses = -model(windows[:, :-1]).log_softmax(-1).gather(-1, windows[:, 1:, None])[..., 0]
    assert [one.loss for one in result.bins] == pytest.approx(losses.mean(0).tolist(), abs=1e-4)
    assert result.windows == len(windows)


def test_without_a_reach_the_context_is_the_limit(tmp_path: Path) -> None:
    local = Local(small_model(context=24), small_tokenizer(tmp_path))
    with pytest.raises(ConfigError, match="the length 25 does not lie within 2 … 24"):
        by_position(local, [TEXT], length=25)
    with pytest.raises(DanluError, match="26 tokens, the model's context is 24"):
        local.score([([1], [2] * 25)])


def test_what_cannot_be_measured() -> None:
    with pytest.raises(ConfigError, match=r"12 bins do not fit 11 predicted positions; ask for 1 … 11"):
        by_position(Placed(), ["0" * 30], length=12, bins=12)
    with pytest.raises(DataError, match="the longest of 2 texts has 7 tokens and a window takes 12"):
        by_position(Placed(), ["0" * 7, "1"], length=12)
