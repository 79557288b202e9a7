"""Recall by distance: passages read back by hand, and scorers that look exactly so far back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from talkers import small_model, small_tokenizer

from danlu.core.errors import ConfigError
from danlu.core.ports import Score
from danlu.evaluate.passages import LETTERS, MARK, PAIRS, Passages
from danlu.evaluate.recall import alphabet, recall, usual
from danlu.infer import Local

BOS, UNKNOWN = 1, 2
DISTANCES = [4, 5, 8, 16, 33]


class Seer:
    """A token a character of ``letters`` (two for "~"), BOS before; ``guess`` names the next id after those before."""

    context = 1000

    def __init__(self, guess: Callable[[list[int]], int], letters: str = LETTERS + MARK) -> None:
        self.guess, self.letters = guess, letters
        self.seen: list[list[int]] = []

    def encode(self, text: str) -> list[int]:
        return [BOS, *(ord(c) if c in self.letters else UNKNOWN for c in text for _ in range(1 + (c == "~")))]

    def byte_count(self, ids: Sequence[int]) -> int:
        return sum(len(chr(i).encode()) for i in ids if i > UNKNOWN)

    def score(self, rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Score]:
        return [self._one([*context], [*after]) for context, after in rows]

    def _one(self, context: list[int], after: list[int]) -> Score:
        self.seen.append([*context, *after])
        hits = tuple(self.guess([*context, *after[:n]]) == token for n, token in enumerate(after))
        return Score((0.0,) * len(after), hits)


@pytest.mark.parametrize("distance", DISTANCES)
def test_a_copy_repeats_what_stood_so_far_back(distance: int) -> None:
    drawn = Passages(LETTERS, MARK)
    for number in range(50):
        context, answer = drawn.copy(number, distance)
        whole = [*context, *answer]
        assert len(whole) == 2 * distance - 1
        assert context.count(MARK) == 1
        for at in range(len(context), len(whole)):
            assert whole[at] == whole[at - distance]


@pytest.mark.parametrize("distance", DISTANCES)
def test_a_key_is_answered_by_the_value_after_its_only_other_place(distance: int) -> None:
    drawn = Passages(LETTERS, MARK)
    for number in range(50):
        context, (answer,) = drawn.recall(number, distance)
        *passage, mark, key = context
        assert mark == MARK
        assert [at for at, symbol in enumerate(passage) if symbol == key] == [0]
        assert passage[1] == answer
        assert len(context) - 1 == distance  # the value stands at 1, the answer after the whole context
        keys = [symbol for symbol in passage if symbol in drawn.keys]
        assert len(set(keys)) == len(keys) == max(1, min(PAIRS, (distance - 1) // 4))
        assert all(passage[passage.index(k) + 1] in drawn.values for k in keys)


def test_training_passages_are_whole_and_all_their_pairs_are_asked() -> None:
    drawn = Passages(LETTERS, MARK, seed=3)
    passages = list(drawn.training(400, 63))
    assert {len(p) for p in passages[0::4]} >= {9, 63}
    for number, passage in enumerate(passages):
        assert len(passage) <= 63
        cut = passage.index(MARK)
        told, asked = passage[:cut], passage[cut + 1 :]
        if number % 4 < 3:
            assert told == asked
            continue
        pairs = dict(zip(asked[::2], asked[1::2], strict=True))
        assert set(pairs) == {symbol for symbol in told if symbol in drawn.keys}
        assert all(told[told.index(key) + 1] == value for key, value in pairs.items())


def test_passages_are_the_same_for_ever() -> None:
    drawn = Passages(LETTERS, MARK)
    found = [*drawn.training(40, 63), *drawn.copy(0, 16), *drawn.recall(0, 16)]
    digest = hashlib.sha256(json.dumps(found, ensure_ascii=False).encode()).hexdigest()
    assert digest == "b00ca01c3d4314a0bfbc65ff2433bbaf68ec23c592cca536843d72f0536daa32"
    assert drawn.copy(0, 16) != Passages(LETTERS, MARK, seed=1).copy(0, 16)


def test_a_scorer_that_looks_so_far_back_is_right_there_and_nowhere_else() -> None:
    """It names what stood 16 tokens back: every copy over 16; over another distance, one letter in 128."""
    result = recall(Seer(lambda before: before[-16] if len(before) >= 16 else 0), DISTANCES, passages=8)
    by = {found.distance: found for found in result.copy}
    assert by[16].accuracy == 1.0
    assert (by[16].asked, by[16].right, by[16].reads) == (8 * 15, 8 * 15, 1 + 31)
    assert all(by[d].accuracy < 0.06 for d in DISTANCES if d != 16)
    assert {found.distance: found.accuracy for found in result.recall}[16] == 1.0
    assert result.letters == len(LETTERS)


@pytest.mark.parametrize("window", [5, 10, 40])
def test_a_scorer_that_finds_keys_within_a_window(window: int) -> None:
    """It looks for the last token among those at most ``window`` before, and names what followed it."""

    def guess(before: list[int]) -> int:
        places = [at for at in range(len(before) - 1) if before[at] == before[-1] and len(before) - 1 - at < window]
        return before[places[0] + 1] if places else 0

    result = recall(Seer(guess), DISTANCES, passages=8)
    for found in result.recall:
        assert found.accuracy == (1.0 if found.distance < window else 0.0)
        assert (found.asked, found.reads) == (32, 1 + found.distance + 2)


def test_letters_are_characters_of_one_known_token() -> None:
    begin, letters, mark = alphabet(Seer(lambda _: 0, letters="0123456789abcdefgh" + MARK))
    assert (begin, mark) == ([BOS], ord(MARK))
    assert letters == [ord(c) for c in "0123456789abcdefgh"]
    seer = Seer(lambda _: 0)
    recall(seer, [8], passages=2)
    assert all(ids[0] == BOS and ids.count(BOS) == 1 for ids in seer.seen)


def test_a_model_is_right_where_its_likeliest_token_is(tmp_path: Path) -> None:
    """Beyond its context of 24 too: each answer against the argmax after all before it, one forward pass a passage."""
    model, tokenizer = small_model("decoder", position="rope", context=24), small_tokenizer(tmp_path)
    result = recall(Local(model, tokenizer, reach=80), [8, 40], passages=3)
    begin, letters, mark = alphabet(Local(model, tokenizer))
    drawn = Passages(letters, mark)
    assert begin == []
    for found in result.copy:
        right = 0
        for number in range(3):
            context, answer = drawn.copy(number, found.distance)
            for n, token in enumerate(answer):
                right += int(model(torch.tensor([[*context, *answer[:n]]]))[0, -1].argmax()) == token
        assert (found.right, found.asked) == (right, 3 * (found.distance - 1))


@pytest.mark.parametrize(
    ("distances", "settings", "words"),
    [
        ([], {}, "needs a distance and a passage"),
        ([8], {"passages": 0}, "needs a distance and a passage"),
        ([3, 8], {}, "a distance of 3 leaves no room for a passage; ask for 4 or more"),
        ([8, 501], {}, "a copy over 501 tokens reads 1002, but the model may read 1000; ask for distances up to 500"),
    ],
)
def test_what_cannot_be_asked(distances: list[int], settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        recall(Seer(lambda _: 0), distances, **settings)


def test_tokenizers_that_cannot_be_asked() -> None:
    with pytest.raises(ConfigError, match=r"does not write '\|' as one token"):
        recall(Seer(lambda _: 0, letters=LETTERS), [8])
    with pytest.raises(ConfigError, match="passages need 12 different letters, found 5"):
        recall(Seer(lambda _: 0, letters="abcde|"), [8])


def test_usual_distances_double_up_to_the_end_of_a_table() -> None:
    assert usual(64, None) == [8, 16, 32, 64, 128, 256]
    assert usual(64, 64) == [8, 16, 32]
    assert usual(16, None) == [4, 8, 16, 32, 64]
