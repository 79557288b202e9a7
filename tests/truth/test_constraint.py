"""What a grammar allows: against a list of all its texts, token by token, and 200 of 200 answers by an own validator."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from grammar_walks import answer, walk
from talkers import small_tokenizer

from danlu.infer.constraint import Matcher, Vocabulary
from danlu.tokenize import Tokenizer

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["a", "中文", 'quo"te']}, "maxItems": 3},
        "pet": {"anyOf": [{"type": "null"}, {"type": "object", "properties": {"legs": {"const": 4}}, "required": ["legs"], "additionalProperties": False}]},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return small_tokenizer(Path(tmp_path_factory.mktemp("tokenizer")))


@pytest.fixture(scope="module")
def vocabulary(tokenizer: Tokenizer) -> Vocabulary:
    """For a model that has five ids more than the tokenizer."""
    return Vocabulary(tokenizer, tokenizer.vocab_size + 5)


def _allowed(matcher: Matcher) -> set[int]:
    return set(matcher.allowed().nonzero().flatten().tolist())


def _followed(tokenizer: Tokenizer, texts: list[str], said: bytes) -> set[int]:
    """Every token after which some text is still possible, by the list of all texts."""
    known = [t for t in range(tokenizer.vocab_size) if t not in tokenizer.special_ids]
    return {t for t in known if any(text.encode().startswith(said + tokenizer.piece_bytes(t)) for text in texts)}


@pytest.mark.parametrize(
    "texts",
    [["yes", "no", "year"], ["你好", "你们", "他"], [" the", " then", "the"], ["a\n\"b\\", "a/b", "a"], ["😀x", "😁y", "é"]],
)  # fmt: skip
def test_the_tokens_that_may_follow_are_those_after_which_a_text_is_left(
    tokenizer: Tokenizer, vocabulary: Vocabulary, texts: list[str]
) -> None:
    for seed in range(12):
        matcher, said = vocabulary.grammar({"choice": texts}).matcher(tokenizer.stops), b""
        dice = torch.Generator().manual_seed(seed)
        while not matcher.over:
            wanted, given = _followed(tokenizer, texts, said), _allowed(matcher)
            ends = said.decode(errors="replace") in texts
            assert given & set(tokenizer.stops) == (set(tokenizer.stops) if ends else set())
            given -= set(tokenizer.stops)
            left = {text.encode()[len(said) :] for text in texts if text.encode().startswith(said)}
            forced = len({rest[:1] for rest in left}) == 1  # then the tokenizer's own spelling alone is allowed
            assert given == wanted or (forced and given and given <= wanted)
            token = int(torch.multinomial(matcher.allowed().float(), 1, generator=dice))
            matcher.take(token)
            if token in tokenizer.stops:
                break
            said += tokenizer.piece_bytes(token)
        assert said.decode() in texts
        assert matcher.over


@pytest.mark.slow
def test_two_hundred_of_two_hundred_answers_are_valid(tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
    said = [json.loads(answer(vocabulary, tokenizer, {"json_schema": PERSON}, seed)) for seed in range(200)]
    for value in said:
        assert set(value) <= set(PERSON["properties"])
        assert isinstance(value["name"], str)
        assert 1 <= len(value["name"]) <= 12
        assert type(value["age"]) is int
        assert 0 <= value["age"] <= 150
        assert len(value.get("tags", [])) <= 3
        assert set(value.get("tags", [])) <= {"a", "中文", 'quo"te'}
        assert value.get("pet") in (None, {"legs": 4})
    assert len({json.dumps(value) for value in said}) > 150, "the answers are all alike"
    assert {key for value in said for key in value} == set(PERSON["properties"])


@pytest.mark.parametrize(
    ("constraint", "expression"),
    [
        ({"regex": r"\d{3}-[一-龥]{2}"}, r"[0-9]{3}-[一-龥]{2}"),
        ({"regex": r"(a|b)*c?/\n"}, r"(a|b)*c?/\n"),
        ({"regex": "x\ny"}, "x\ny"),
        ({"regex": r"[^\n]{1,4}"}, r"[^\n]{1,4}"),
        ({"choice": ["1", "22", "333"]}, "1|22|333"),
        ({"grammar": 'root ::= "a" | "b" root'}, "b*a"),
    ],
    ids=str,
)
def test_twenty_of_twenty_answers_match(
    tokenizer: Tokenizer, vocabulary: Vocabulary, constraint: dict[str, Any], expression: str
) -> None:
    for seed in range(20):
        said = answer(vocabulary, tokenizer, constraint, seed)
        assert re.fullmatch(expression, said), said


def test_brackets_close(tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
    brackets = {"grammar": 'start: "(" start ")" | "x"'}
    said = [answer(vocabulary, tokenizer, brackets, seed) for seed in range(20)]
    assert all(text.count("(") == text.count(")") for text in said)
    assert max(map(len, said)) > 6


def test_any_object_is_json_that_white_space_does_not_run_away_in(tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
    grammar, ended = vocabulary.grammar({"json_object": True}), 0
    for seed in range(30):
        matcher = grammar.matcher(tokenizer.stops)
        text = tokenizer.decode(walk(matcher, tokenizer.stops, seed, 200), skip_special=False)
        ended += matcher.over
        assert not re.search(r"\n[ \t]*\n", text)
        if matcher.over:
            assert isinstance(json.loads(text), dict)
    assert ended > 5


def test_pretty_and_compact_json_can_both_be_said(tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
    grammar = vocabulary.grammar({"json_schema": PERSON})
    value = {"name": "你好", "age": 7, "tags": ["a", "中文"]}
    for text in (
        json.dumps(value, indent=4, ensure_ascii=False),
        json.dumps(value, ensure_ascii=False),
        json.dumps(value, ensure_ascii=False, separators=(",", ":")),
    ):
        ids = tokenizer.encode(text)
        assert grammar.matcher(tokenizer.stops).accepts([*ids, tokenizer.stops[0]]) == len(ids) + 1, text


def test_accepts_counts_and_changes_nothing(tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
    matcher = vocabulary.grammar({"choice": ["yes", "year"]}).matcher(tokenizer.stops)
    (y, e, s, n), stop = (tokenizer.encode(letter)[0] for letter in "yesn"), tokenizer.stops[0]
    before = _allowed(matcher)
    assert [matcher.accepts(x) for x in ([y, e, s, stop], [y, e, n], [n], [], [y, stop], [y, e, s, s])] == [
        4,
        2,
        0,
        0,
        1,
        3,
    ]
    assert _allowed(matcher) == before


def test_a_fork_goes_its_own_way(tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
    matcher = vocabulary.grammar({"choice": ["ab", "ac"]}).matcher(tokenizer.stops)
    matcher.take(tokenizer.encode("a")[0])
    twin = matcher.fork()
    twin.take(tokenizer.encode("b")[0])
    assert (twin.over, matcher.over) == (True, False)
    assert _allowed(matcher) == {tokenizer.encode(letter)[0] for letter in "bc"}
    stopped = vocabulary.grammar({"regex": "a*"}).matcher(tokenizer.stops)
    stopped.take(tokenizer.stops[0])
    assert stopped.fork().over


def test_without_a_stop_the_answer_is_over_all_the_same(tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
    matcher = vocabulary.grammar({"choice": ["a", "ab"]}).matcher(())
    matcher.take(tokenizer.encode("a")[0])
    assert _allowed(matcher) == {tokenizer.encode("b")[0]}
    matcher.take(tokenizer.encode("b")[0])
    assert matcher.over
    assert not matcher.allowed().any()


def test_special_tokens_and_ids_without_a_piece_are_never_allowed(tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
    matcher = vocabulary.grammar({"regex": r"(.|\n)*"}).matcher(())
    allowed = matcher.allowed()
    assert not allowed[tokenizer.vocab_size :].any()
    assert not allowed[sorted(tokenizer.special_ids)].any()
    spelled = vocabulary.grammar({"choice": ["<|im_end|>"]}).matcher(())
    assert tokenizer.id("<|im_end|>") not in _allowed(spelled)
    assert tokenizer.decode(walk(spelled, (), 0), skip_special=False) == "<|im_end|>"


def test_a_token_that_is_not_allowed_is_a_failure_that_is_told(tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
    matcher = vocabulary.grammar({"choice": ["a"]}).matcher(tokenizer.stops)
    matcher.take(tokenizer.encode("b")[0])
    assert matcher.over
    assert matcher.failure
    assert _allowed(matcher) == set(tokenizer.stops)


def test_a_grammar_is_compiled_once(vocabulary: Vocabulary) -> None:
    first = vocabulary.grammar({"json_schema": PERSON})
    assert vocabulary.grammar({"json_schema": json.dumps(PERSON)}) is first
    for number in range(40):
        vocabulary.grammar({"choice": [f"answer {number}"]})
    assert vocabulary.grammar({"json_schema": PERSON}) is not first, "the oldest is forgotten"
