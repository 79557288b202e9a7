"""Schemas, expressions and grammars that mean harm: refused in one sentence, soon, and the next one is served."""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from grammar_walks import answer, walk
from talkers import small_tokenizer

from danlu.core.errors import ConfigError, MissingExtra
from danlu.infer.constraint import Vocabulary
from danlu.infer.trials import Trials
from danlu.tokenize import Tokenizer, train


def _nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


def _chain(depth: int, rule: str = "a{}: a{}") -> str:
    rules = "\n".join(rule.format(n, n + 1) for n in range(depth))
    return f'start: {rule[0]}0\n{rules}\n{rule[0]}{depth}: "a"'


def _twice(depth: int) -> str:
    rules = "\n".join(f"A{n}: A{n + 1} A{n + 1}" for n in range(depth))
    return f'start: A0\n{rules}\nA{depth}: "a"'


REFS = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(5000)} | {"d5000": {"type": "object"}}
PATTERNS = [{"type": "string", "pattern": f".*[a-z]{{{n}}}.*x"} for n in range(2, 30)]
UNIONS = [{"anyOf": [{"properties": {f"k{i}_{j}": {"type": "string"}}} for j in range(5)]} for i in range(12)]

HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "no schema": ({"json_schema": {"type": "strin"}}, "strin"),
    "no json": ({"json_schema": "{"}, "no JSON"),
    "no object": ({"json_schema": [1]}, "must be an object"),
    "infinite": ({"json_schema": {"const": float("nan")}}, "finite"),
    "a word it does not know": ({"json_schema": {"not": {"type": "string"}}}, "not"),
    "nothing keeps to it": ({"json_schema": {"type": "array", "minItems": 3, "maxItems": 1}}, "minItems"),
    "false": ({"json_schema": {"properties": {"a": False}, "required": ["a"], "type": "object"}}, "unsatisfiable"),
    "only itself": ({"json_schema": {"$ref": "#"}}, "no text keeps to it"),
    "itself and more": ({"json_schema": {"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}, {"type": "object"}]}}, "$ref": "#/$defs/a"}}, "circular"),
    "a file": ({"json_schema": {"$ref": "file:///etc/passwd"}}, "passwd"),
    "a URL": ({"json_schema": {"$ref": "http://127.0.0.1:9/schema"}}, "127.0.0.1"),
    "deep": ({"json_schema": _nested(5000)}, "JSON"),
    "a chain of references": ({"json_schema": {"$defs": REFS, "$ref": "#/$defs/d0"}}, "depth"),
    "many patterns at once": ({"json_schema": {"allOf": PATTERNS}}, "time, memory or depth"),
    "unions of unions": ({"json_schema": {"allOf": UNIONS}}, "schema too large"),
    "a very long list": ({"json_schema": {"enum": [f"v{n}" for n in range(30000)]}}, "characters"),
    "many properties": ({"json_schema": {"type": "object", "properties": {f"p{n}": {} for n in range(20000)}}}, "characters"),
    "an expression that looks ahead": ({"regex": "(?=a)b"}, "look-a"),
    "an expression that looks back": ({"regex": r"(a)\1"}, "backreferences"),
    "an open bracket": ({"regex": "(a"}, "unclosed"),
    "brackets": ({"regex": "(" * 10000 + ")" * 10000}, "regex"),
    "powers": ({"regex": "((a{1000}){1000}){1000}"}, "cannot be followed"),
    "a long expression": ({"regex": "a" * 100_000}, "characters"),
    "an empty expression": ({"regex": ""}, "empty"),
    "NUL": ({"regex": "a\0"}, "NUL"),
    "half a character": ({"choice": ["a", "\ud83d"]}, "surrogate"),
    "an empty choice": ({"choice": []}, "list of texts"),
    "a choice of numbers": ({"choice": [1, 2]}, "list of texts"),
    "a choice that is a text": ({"choice": "yes"}, "list of texts"),
    "a grammar of itself": ({"grammar": "start: start"}, "no text keeps to it"),
    "a rule that is missing": ({"grammar": "start: a"}, "unknown name"),
    "a chain of rules": ({"grammar": _chain(10000)}, "depth"),
    "a chain of terminals": ({"grammar": _chain(10000, "A{}: A{}")}, "depth"),
    "doubled forty times": ({"grammar": _twice(40)}, "cannot be followed"),
    "doubled eighteen times": ({"grammar": _twice(18)}, "cannot be followed"),
    "GBNF that is wrong": ({"grammar": "root ::= ("}, "Expected"),
    "GBNF that is deep": ({"grammar": "root ::= " + "(" * 4000 + '"a"' + ")" * 4000}, "deep"),
    "GBNF that is long": ({"grammar": "root ::= " + " " * 10000 + '"a"'}, "characters"),
    "Lark that is deep": ({"grammar": "start: " + "(" * 20000 + '"a"' + ")" * 20000}, "deep"),
    "a file to import": ({"grammar": "start: x\n%import .secret (x)"}, "Unknown common regex"),
    "an unknown form": ({"jason_schema": {}}, "did you mean"),
    "two forms": ({"regex": "a", "choice": ["a"]}, "exactly one"),
    "no form": ({}, "exactly one"),
    "no object wanted": ({"json_object": False}, "must be true"),
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return small_tokenizer(Path(tmp_path_factory.mktemp("tokenizer")))


@pytest.fixture(scope="module")
def vocabulary(tokenizer: Tokenizer) -> Vocabulary:
    return Vocabulary(tokenizer, tokenizer.vocab_size)


@pytest.mark.parametrize("name", list(HOSTILE))
def test_it_is_refused_in_one_sentence_and_the_next_is_served(
    tokenizer: Tokenizer, vocabulary: Vocabulary, name: str
) -> None:
    constraint, told = HOSTILE[name]
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.thread_time()
    with pytest.raises(ConfigError) as refused:
        vocabulary.grammar(constraint)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400
    assert time.thread_time() - begun < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "more than 200 MB"
    assert answer(vocabulary, tokenizer, {"choice": ["yes"]}, 0) == "yes"


@pytest.mark.parametrize(
    "constraint",
    [
        {"grammar": 'start: start start | "a" | start start start |'},
        {"regex": "(a|aa)*(a|aa)*b"},
        {"regex": "(.*a.{30}|.*b.{29})+"},
        {"regex": "((a|b|cd){1000}){1000}e"},
        {"grammar": 'start: ((a{1000}){1000}){1000}\na: "a"|"b"'},
        {"json_schema": {"type": "string", "minLength": 10**9}},
        {"json_schema": {"type": "array", "items": {"type": "object"}, "minItems": 10**9}},
        {"json_schema": _nested(40)},
    ],
    ids=lambda constraint: json.dumps(constraint)[:60],
)
def test_a_heavy_one_is_followed_or_given_up_within_its_seconds(
    tokenizer: Tokenizer, vocabulary: Vocabulary, constraint: dict[str, Any]
) -> None:
    begun = time.thread_time()
    try:
        matcher = vocabulary.grammar(constraint).matcher(())
    except ConfigError:
        return
    tokens = walk(matcher, (), 1)
    assert time.thread_time() - begun < 8
    assert tokens
    assert len(tokens) == 300 or matcher.over


@pytest.mark.parametrize(
    "constraint",
    [
        {"json_schema": {"type": "object", "properties": {f"p{n}": {"type": ["string", "null"]} for n in range(200)}}},
        {"json_schema": {"enum": [f"value number {n}" for n in range(1000)]}},
        {"json_schema": {"type": "array", "items": {"type": "string", "format": "date-time"}, "minItems": 3}},
        {"regex": r"(\p{L}|\p{N}|\p{M}){1,500}"},
        {"regex": r"(#{1,3} [^\n]{1,80}\n(- [^\n]{1,120}\n){1,5}){1,5}"},
        {"choice": [f"{n:x}z" for n in range(5000)]},
        {"grammar": _chain(50)},
    ],
    ids=lambda constraint: json.dumps(constraint)[:60],
)
def test_what_people_do_ask_is_followed(
    tokenizer: Tokenizer, vocabulary: Vocabulary, constraint: dict[str, Any]
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    matcher = vocabulary.grammar(constraint).matcher(tokenizer.stops)
    assert walk(matcher, tokenizer.stops, 5)
    assert not matcher.failure
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000, "more than 50 MB"


def test_masks_that_take_too_long_end_the_answer(
    tokenizer: Tokenizer, vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    grammar = vocabulary.grammar({"regex": "[a-z]{0,50}"})
    monkeypatch.setattr("danlu.infer.constraint.SECONDS", -1.0)
    matcher = grammar.matcher(tokenizer.stops)
    assert matcher.over
    assert "seconds" in matcher.failure
    assert set(matcher.allowed().nonzero().flatten().tolist()) == set(tokenizer.stops)


def test_what_the_vocabulary_cannot_spell_is_refused() -> None:
    letters = train(iter(["abc"]), "char")
    vocabulary = Vocabulary(letters, letters.vocab_size)
    assert answer(vocabulary, letters, {"choice": ["cab"]}, 0) == "cab"
    with pytest.raises(ConfigError, match="cannot spell"):
        vocabulary.grammar({"json_object": True})
    stuck = vocabulary.grammar({"choice": ["a!", "b!"]}).matcher(letters.stops)
    stuck.take(letters.encode("a")[0])
    assert stuck.over
    assert stuck.failure


def test_a_refusal_is_remembered(vocabulary: Vocabulary) -> None:
    constraint = {"grammar": _chain(9000)}
    with pytest.raises(ConfigError) as first:
        vocabulary.grammar(constraint)
    begun = time.monotonic()
    with pytest.raises(ConfigError) as second:
        vocabulary.grammar(constraint)
    assert time.monotonic() - begun < 0.1
    assert str(first.value) == str(second.value)


def test_many_threads_may_ask_at_once(tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
    said: list[str] = []

    def ask(number: int) -> None:
        said.extend(answer(vocabulary, tokenizer, {"choice": [f"{number} {turn}"]}, 0) for turn in range(5))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    _all(threads, threading.Thread.start)
    _all(threads, threading.Thread.join)
    assert sorted(said) == sorted(f"{number} {turn}" for number in range(4) for turn in range(5))


def test_many_threads_may_follow_the_same_grammar(tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
    """Masks are made without the interpreter's lock and ask the tokenizer with it: nobody may wait for both."""
    choices = ["alpha beta gamma", "alpha beta delta"]
    grammar, said = vocabulary.grammar({"choice": choices}), list[str]()

    def follow(number: int) -> None:
        for seed in range(100):
            tokens = walk(grammar.matcher(tokenizer.stops), tokenizer.stops, 100 * number + seed)
            said.append(tokenizer.decode(tokens))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    threads = [threading.Thread(target=follow, args=(number,), daemon=True) for number in range(4)]
    _all(threads, threading.Thread.start)
    for thread in threads:
        thread.join(timeout=60)
    sys.setswitchinterval(interval)
    assert len(said) == 400
    assert set(said) == set(choices)


def _all(threads: list[threading.Thread], do: Callable[[threading.Thread], None]) -> None:
    for thread in threads:
        do(thread)


def test_the_process_of_trials_is_started_again_after_it_was_killed() -> None:
    trials = Trials(300, {7: "<end>"})
    assert trials.reason('start: "a" <[7]> <end>', {}) == ""
    assert trials._process is not None
    trials._process.kill()
    trials._process.wait()
    assert "memory" in trials.reason('start: "a"', {})
    assert trials.reason('start: "a"', {}) == ""


def test_the_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tokenizer: Tokenizer) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(MissingExtra, match="pip install"):
        Vocabulary(tokenizer, tokenizer.vocab_size)
