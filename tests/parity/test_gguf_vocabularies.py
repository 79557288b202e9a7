"""Vocabularies in GGUF files against llama.cpp: the same ids on texts of many scripts, there and when read back."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from talkers import small_tokenizer
from tokenizer_corpus import TEXTS, opened, trained

import danlu.models
from danlu.assembly.comparing import TEXTS as MORE
from danlu.assembly.consumers.llama_server import LlamaServer
from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.models.gguf import save_gguf
from danlu.tokenize import Tokenizer, load_tokenizer
from danlu.tokenize.gguf.vocabularies.byte_level import ALIKE, RULES

pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")

SHARED = ("gpt-2", "llama-spm", "minimind", "chinese_sp.model", "sp_test_model.model", "t5_spiece.model")


def same_ids(tokenizer: Tokenizer, folder: Path) -> None:
    sizes = {"use": "llama", "model": 8, "layers": 1, "heads": 1, "context": 64}
    model = danlu.models.build(Spec.read(sizes), vocab=tokenizer.vocab_size + 3)
    file = save_gguf(model, tokenizer, folder / "model.gguf", type="f16")
    again = load_tokenizer(file)
    with closing(LlamaServer(file, 64)) as consumer:
        for text in (*TEXTS, *MORE):
            ids = tokenizer.encode(text, special=True)
            assert consumer.ids(text) == ids
            assert again.encode(text, special=True) == ids
            assert again.encode(text) == tokenizer.encode(text)
            assert again.decode(ids) == tokenizer.decode(ids)
    assert again.stops == tokenizer.stops
    assert again.template.sources == tokenizer.template.sources


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARED)
def test_published_vocabularies(name: str, shared: Path, tmp_path: Path) -> None:
    same_ids(opened(shared / "tokenizers" / name), tmp_path)


def test_our_own(tmp_path: Path) -> None:
    same_ids(trained("byte_bpe"), tmp_path)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_of_cutting_words(rule: str, tmp_path: Path) -> None:
    """Digits, contractions, line ends and spaces fall apart as llama.cpp's rule of that name lets them."""
    from danlu.tokenize.gguf.vocabularies.byte_level import BUILT

    tokenizer = small_tokenizer(tmp_path)
    description, (steps, whole) = tokenizer.description, RULES[rule]
    made = [json.loads(BUILT[kind](value).__getstate__()) for kind, value in steps]
    description["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": made}
    description["model"]["ignore_merges"] = whole
    more = ["1", "12", "123", "'s", "Ġ1", "ĊĊ", "ĠĠ", "ĠĠĠ", "!!", ".Ċ", "ab", "Ab", "ABc"]
    for piece in more:
        pairs = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]
        vocab = description["model"]["vocab"]
        if known := [pair for pair in pairs if set(pair) <= set(vocab)]:
            vocab[piece] = len(vocab)
            description["model"]["merges"].append(list(known[0]))
    (tmp_path / "tokenizer.json").write_text(json.dumps(description))
    same_ids(load_tokenizer(tmp_path), tmp_path)


def test_names_that_mean_the_same_rule_are_read() -> None:
    assert set(ALIKE.values()) <= set(RULES)
    assert not set(ALIKE) & set(RULES)


@pytest.mark.parametrize("kind", ["wordpiece", "char", "bpe_fallback", "unigram"])
def test_vocabularies_that_llama_cpp_lacks_are_refused(kind: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"llama.cpp has no vocabulary like this"):
        same_ids(trained(kind), tmp_path)
    assert not (tmp_path / "model.gguf").exists()
