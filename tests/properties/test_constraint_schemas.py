"""Any schema of a kind that people write: random answers are valid, by a validator of a few lines."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from grammar_walks import walk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from talkers import small_tokenizer

from danlu.infer.constraint import Vocabulary
from danlu.tokenize import Tokenizer

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=6)
LEAF = st.one_of(
    st.fixed_dictionaries({"type": st.just("string"), "maxLength": st.integers(0, 6)}),
    st.tuples(st.integers(-200, 200), st.integers(0, 300)).map(lambda b: {"type": "integer", "minimum": b[0], "maximum": sum(b)}),
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.lists(st.one_of(TEXT, st.integers(-99, 99), st.booleans(), st.none()), min_size=1, max_size=4).map(lambda some: {"enum": some}),
    TEXT.map(lambda text: {"const": text}),
)  # fmt: skip


def _object(parts: dict[str, Any], wanted: list[bool]) -> dict[str, Any]:
    required = [name for name, one in zip(parts, wanted, strict=False) if one]
    return {"type": "object", "properties": parts, "required": required, "additionalProperties": False}


def _around(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    parts = st.dictionaries(TEXT, inner, min_size=1, max_size=4)
    return st.one_of(
        st.tuples(parts, st.lists(st.booleans(), min_size=4, max_size=4)).map(lambda both: _object(*both)),
        st.tuples(inner, st.integers(0, 2)).map(lambda b: {"type": "array", "items": b[0], "minItems": b[1], "maxItems": 2}),
        st.lists(inner, min_size=1, max_size=3).map(lambda some: {"anyOf": some}),
    )  # fmt: skip


SCHEMA = st.recursive(LEAF, _around, max_leaves=6)


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


def valid(value: Any, schema: dict[str, Any]) -> bool:
    """Whether a value is what the schema says, for the words used here."""
    if "anyOf" in schema:
        return any(valid(value, one) for one in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return any(_same(value, one) for one in schema.get("enum", [schema.get("const")]))
    return {
        "string": lambda: isinstance(value, str) and len(value) <= schema.get("maxLength", math.inf),
        "integer": lambda: type(value) is int and schema["minimum"] <= value <= schema["maximum"],
        "boolean": lambda: isinstance(value, bool),
        "null": lambda: value is None,
        "array": lambda: (
            isinstance(value, list)
            and schema["minItems"] <= len(value) <= schema["maxItems"]
            and all(valid(one, schema["items"]) for one in value)
        ),
        "object": lambda: (
            isinstance(value, dict)
            and set(schema["required"]) <= set(value) <= set(schema["properties"])
            and all(valid(one, schema["properties"][name]) for name, one in value.items())
        ),
    }[schema["type"]]()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return small_tokenizer(Path(tmp_path_factory.mktemp("tokenizer")))


@pytest.fixture(scope="module")
def vocabulary(tokenizer: Tokenizer) -> Vocabulary:
    return Vocabulary(tokenizer, tokenizer.vocab_size)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schema=SCHEMA, seed=st.integers(0, 1000))
def test_a_random_answer_is_valid(tokenizer: Tokenizer, vocabulary: Vocabulary, schema: Any, seed: int) -> None:
    matcher = vocabulary.grammar({"json_schema": schema}).matcher(tokenizer.stops)
    tokens = walk(matcher, tokenizer.stops, seed, 3000)
    assert not matcher.failure
    assert valid(json.loads(tokenizer.decode(tokens, skip_special=False)), schema)


def test_the_validator_says_no() -> None:
    schema = _object({"a": {"type": "integer", "minimum": 0, "maximum": 5}}, [True])
    assert valid({"a": 5}, schema)
    assert not any(valid(value, schema) for value in ({}, {"a": 6}, {"a": True}, {"a": 1, "b": 1}, [], {"a": "1"}))
