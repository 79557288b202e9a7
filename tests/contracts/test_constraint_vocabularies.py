"""Whatever vocabulary a model has, a constrained answer, decoded as answers are, keeps to its grammar."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from grammar_walks import walk

from danlu.core.errors import ConfigError
from danlu.infer.constraint import Vocabulary
from danlu.tokenize import TRAINERS, Tokenizer, load_tokenizer, train

TEXTS = [
    '{"name": "Ann Lee", "age": 30, "tags": ["a b", "c"]}',
    '{ "name" : "Bob", "age": 12, "tags": [] }',
    "the cat sat on the mat, and the dog ran off",
    "今天天气很好，我们去公园。",
] * 20
CHOICES = ["the cat", "the dog ran", " the mat", "天气很好"]


@pytest.fixture(scope="module", params=list(TRAINERS))
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return train(iter(TEXTS), request.param, vocab=400)


def test_choices_are_said_as_they_are(tokenizer: Tokenizer) -> None:
    vocabulary = Vocabulary(tokenizer, tokenizer.vocab_size)
    said = [text for choice in CHOICES for text in _said(vocabulary, tokenizer, [choice])]
    assert said
    assert set(said) <= set(CHOICES)
    assert {text for seed in range(4) for text in _said(vocabulary, tokenizer, CHOICES[:2], seed)} <= set(CHOICES[:2])


def _said(vocabulary: Vocabulary, tokenizer: Tokenizer, choices: list[str], seed: int = 0) -> list[str]:
    """What a random answer says; nothing where the vocabulary cannot spell any."""
    try:
        matcher = vocabulary.grammar({"choice": choices}).matcher(tokenizer.stops)
    except ConfigError:
        return []
    tokens = walk(matcher, tokenizer.stops, seed)
    return [] if matcher.failure else [_text(tokenizer, tokens)]


def _text(tokenizer: Tokenizer, tokens: list[int]) -> str:
    decoder = tokenizer.decoder()
    return "".join(map(decoder.push, tokens)) + decoder.flush()


def test_objects_are_json(tokenizer: Tokenizer) -> None:
    schema = {"type": "object", "properties": {"age": {"enum": [30, 12, 2]}}, "required": ["age"], "additionalProperties": False}  # fmt: skip
    vocabulary = Vocabulary(tokenizer, tokenizer.vocab_size)
    try:
        grammar = vocabulary.grammar({"json_schema": schema})
    except ConfigError:
        assert tokenizer.id("{") is None, "a vocabulary with a brace can begin an object"
        return
    whole = 0
    for seed in range(10):
        matcher = grammar.matcher(tokenizer.stops)
        tokens = walk(matcher, tokenizer.stops, seed)
        if not matcher.failure:
            whole += 1
            assert json.loads(_text(tokenizer, tokens))["age"] in (30, 12, 2)
    assert whole or not any(tokenizer.piece_bytes(token)[:1] == b'"' for token in range(tokenizer.vocab_size))


def test_half_characters_of_bytes_join(shared: Path) -> None:
    tokenizer = load_tokenizer(shared / "tokenizers" / "minimind")
    vocabulary = Vocabulary(tokenizer, tokenizer.vocab_size)
    texts = ["饕餮", "龘靐", "😀🤖"]
    for seed in range(12):
        assert _said(vocabulary, tokenizer, texts, seed)[0] in texts


@pytest.mark.parametrize("file", ["chinese_sp.model", "t5_spiece.model"])
def test_sentencepiece_without_bytes_says_spaces(shared: Path, tmp_path: Path, file: str) -> None:
    """Their decoders write the mark of a space as a space, and take the first away: in the stream, too."""
    pytest.importorskip("sentencepiece")
    (tmp_path / "spiece.model").write_bytes((shared / "tokenizers" / file).read_bytes())
    tokenizer = load_tokenizer(tmp_path)
    ids = tokenizer.encode("the cat sat")
    assert _text(tokenizer, ids) == tokenizer.decode(ids) == "the cat sat"
    vocabulary = Vocabulary(tokenizer, tokenizer.vocab_size)
    spaced = tokenizer.id("▁the")
    assert spaced is not None
    assert vocabulary.grammar({"choice": ["the cat", "the dog"]}).matcher(tokenizer.stops).allowed()[spaced]
    assert not vocabulary.grammar({"choice": [" the cat"]}).matcher(tokenizer.stops).allowed()[spaced]
    assert _said(vocabulary, tokenizer, [" the cat"]) == [" the cat"]
    assert {_said(vocabulary, tokenizer, ["the cat", "the dog"], seed)[0] for seed in range(8)} == {
        "the cat",
        "the dog",
    }
