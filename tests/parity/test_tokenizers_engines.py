"""The fast engines against the tokenizers library, and where each one refuses."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from tests.tokenizer_corpus import KINDS, TEXTS, corpus, opened, trained
from tokenizers import Regex, pre_tokenizers
from tokenizers import Tokenizer as Backend

from danlu.tokenize import Tokenizer, train
from danlu.tokenize.engines import ENGINES, fastest
from danlu.tokenize.engines.byte_level import Tiktoken
from danlu.tokenize.engines.reference import Reference
from danlu.tokenize.engines.unigram import Sentencepiece

tiktoken = pytest.importorskip("tiktoken", reason="needs the extra 'tiktoken'")
pytest.importorskip("sentencepiece", reason="needs the extra 'sentencepiece'")


def _documents(shared: Path) -> list[str]:
    texts = [(shared / "lm/wikitext2_valid.txt").read_text(encoding="utf-8")[:200_000]]
    texts += [file.read_text(encoding="utf-8")[:60_000] for file in sorted((shared / "lm/zh").iterdir())]
    return [text[at : at + 3000] for text in texts for at in range(0, len(text), 3000)] + list(TEXTS)


@pytest.mark.parametrize("name", ["gpt-2", "minimind"])
def test_tiktoken_gives_the_same_ids(shared: Path, name: str) -> None:
    tokenizer = opened(shared / "tokenizers" / name)
    assert isinstance(tokenizer.engine, Tiktoken)
    documents = _documents(shared)
    assert tokenizer.encode_batch(documents) == [tokenizer.encode(text) for text in documents]


@pytest.mark.parametrize(("kind", "engine"), [("byte_bpe", Tiktoken), ("unigram", Sentencepiece), ("char", Reference)])
def test_our_own_vocabularies_are_served_fast(shared: Path, kind: str, engine: type) -> None:
    tokenizer = trained(kind)
    assert isinstance(tokenizer.engine, engine)
    documents = _documents(shared)
    assert tokenizer.encode_batch(documents) == [tokenizer.encode(text) for text in documents]


@pytest.mark.parametrize("normalization", ["nfc", "nfkc_lowercase"])
@pytest.mark.parametrize("kind", ["byte_bpe", "unigram"])
def test_normalized_vocabularies_are_served_fast(kind: str, normalization: str) -> None:
    tokenizer = train(iter(corpus()), kind, vocab=640, normalization=normalization)
    assert not isinstance(tokenizer.engine, Reference)
    assert tokenizer.encode_batch(TEXTS) == [tokenizer.encode(text) for text in TEXTS]


def test_long_stretches_without_a_cut(shared: Path) -> None:
    tokenizer = trained("unigram")
    for text in ("x" * 5000, "模" * 5000, " ".join(["模型"] * 3000), "a\n" * 4000):
        assert tokenizer.engine.encode(text) == tokenizer.encode(text)


def test_both_libraries_know_the_same_letters() -> None:
    """tiktoken cuts words with Rust's classes, tokenizers with Oniguruma's: equal on every character there is."""
    assigned = [
        *range(0xD800),
        *range(0xE000, 0x34000),
        *range(0xE0000, 0xE0200),
    ]  # the planes in use, with what is free
    everything = "".join(map(chr, assigned))
    ranks = {bytes([byte]): byte for byte in range(256)}
    for kind, other in ((r"\p{L}", r"\P{L}"), (r"\p{N}", r"\P{N}"), (r"\s", r"\S")):
        encoding = tiktoken.Encoding("classes", pat_str=kind, mergeable_ranks=ranks, special_tokens={})
        theirs = bytes(encoding.encode_ordinary(everything)).decode()
        split = pre_tokenizers.Split(Regex(other), "removed").pre_tokenize_str(everything)
        assert theirs == "".join(text for text, _ in split)


def _changed(tokenizer: Tokenizer, **changes: object) -> dict[str, object]:
    return {**tokenizer.description, **changes}


def test_tiktoken_refuses_what_it_would_spell_otherwise(shared: Path) -> None:
    tokenizer = trained("byte_bpe")
    description = tokenizer.description
    assert Tiktoken.refuses(description) is None
    spaces = {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True, "trim_offsets": True}
    assert "regular expression" in str(Tiktoken.refuses(_changed(tokenizer, pre_tokenizer=spaces)))
    assert "regular expression" in str(Tiktoken.refuses(_changed(tokenizer, pre_tokenizer=None)))
    twice = [*description["model"]["merges"], description["model"]["merges"][0]]
    assert "several merges" in str(
        Tiktoken.refuses(_changed(tokenizer, model={**description["model"], "merges": twice}))
    )
    assert "no pieces" in str(Tiktoken.refuses(opened(shared / "tokenizers/tiny_bpe").description))
    assert "plain BPE" in str(Tiktoken.refuses(trained("wordpiece").description))


def test_a_piece_that_its_own_merges_do_not_reach() -> None:
    """Merges in an order in which a later piece is never made: tiktoken would make it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {piece: n for n, piece in enumerate([*alphabet, "bc", "ab", "abc"])}
    model = {"type": "BPE", "vocab": vocab, "merges": [["b", "c"], ["a", "b"], ["ab", "c"]]}
    step = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    content = {"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": step, "model": model}
    plain = Backend.from_str(json.dumps({**content, "post_processor": None, "decoder": step}))
    description = json.loads(plain.to_str())
    assert plain.encode("abc").tokens == ["a", "bc"]
    assert isinstance(fastest(plain, description), Reference)


def test_sentencepiece_refuses_what_it_would_spell_otherwise(shared: Path) -> None:
    description = trained("unigram").description
    assert Sentencepiece.refuses(description) is None
    vocab = [[text, score + 1 / 3000] for text, score in description["model"]["vocab"]]
    changed = {**description, "model": {**description["model"], "vocab": vocab}}
    assert "grid" in str(Sentencepiece.refuses(changed))
    assert "before spaces" in str(Sentencepiece.refuses({**description, "pre_tokenizer": None}))
    t5 = opened(shared / "tokenizers/t5_spiece.model")
    assert "byte fallback" in str(Sentencepiece.refuses(t5.description))
    assert isinstance(t5.engine, Reference)


@pytest.mark.parametrize("kind", KINDS)
def test_without_the_extras_the_ids_stay(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = trained(kind)
    wanted = tokenizer.encode_batch(TEXTS)
    find = importlib.util.find_spec
    missing = ("tiktoken", "sentencepiece")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name in missing else find(name, *a))
    plain = Backend.from_str(json.dumps(tokenizer.description))
    plain.encode_special_tokens = True
    engine = fastest(plain, tokenizer.description)
    assert isinstance(engine, Reference)
    assert engine.encode_batch(TEXTS) == wanted


def test_an_engine_that_differs_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = trained("byte_bpe")
    monkeypatch.setattr(Tiktoken, "encode_batch", lambda self, texts: [[0] for _ in texts])
    assert isinstance(fastest(tokenizer._plain, tokenizer.description), Reference)
    assert ENGINES["tiktoken"] is Tiktoken
