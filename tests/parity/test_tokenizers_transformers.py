"""What we save, transformers opens: every kind, alone and beside the config.json of a model."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from tests.tokenizer_corpus import KINDS, TEXTS, corpus, trained

from danlu.tokenize import Tokenizer, extend, load_tokenizer, train

transformers = pytest.importorskip("transformers")


def _same(folder: Path, ours: Tokenizer) -> None:
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    for text in TEXTS:
        ids = ours.encode(text)
        assert theirs.encode(text, add_special_tokens=False, split_special_tokens=True) == ids
        assert theirs.encode(text) == ours.encode(text, special=True)
        assert theirs.decode(ids, skip_special_tokens=True) == ours.decode(ids)
        assert theirs.decode(ids) == ours.decode(ids, skip_special=False)
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id) == (ours.bos, ours.eos, ours.pad)
    assert theirs.pad_token_id != theirs.eos_token_id
    assert len(theirs) == ours.vocab_size


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(tmp_path: Path, kind: str) -> None:
    trained(kind).save(tmp_path)
    _same(tmp_path, trained(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_grown_vocabularies(tmp_path: Path, kind: str) -> None:
    grown = extend(trained(kind), iter(["growing 新的词语 yet more 新的词语 🦙🦙 "] * 20), add=20).tokenizer
    assert grown.vocab_size > trained(kind).vocab_size
    grown.save(tmp_path)
    _same(tmp_path, grown)


@pytest.mark.parametrize("family", ["llama", "gpt2", "mistral", "qwen3"])
def test_beside_a_model(tmp_path: Path, family: str) -> None:
    for kind in ("byte_bpe", "unigram"):
        trained(kind).save(tmp_path)
        transformers.AutoConfig.for_model(family).save_pretrained(tmp_path)
        _same(tmp_path, trained(kind))


def test_beside_a_qwen2(tmp_path: Path) -> None:
    """For this family transformers puts its own rules in place of the file's: ours are the same with these settings."""
    tokenizer = train(iter(corpus()), "byte_bpe", vocab=640, digits="single", normalization="nfc")
    tokenizer.save(tmp_path)
    transformers.AutoConfig.for_model("qwen2").save_pretrained(tmp_path)
    _same(tmp_path, tokenizer)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_read_and_sent_to_another_process(tmp_path: Path, kind: str) -> None:
    tokenizer = trained(kind)
    tokenizer.save(tmp_path)
    for again in (load_tokenizer(tmp_path), pickle.loads(pickle.dumps(tokenizer))):
        assert again.fingerprint() == tokenizer.fingerprint()
        assert again.encode_batch(TEXTS) == tokenizer.encode_batch(TEXTS)
        assert again.stops == tokenizer.stops


def test_the_saved_files_are_json_with_the_template(tmp_path: Path) -> None:
    trained("byte_bpe").save(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert "<|im_start|>" in config["chat_template"]
    assert config["eos_token"] == "<|endoftext|>"
    assert config["pad_token"] == "<|pad|>"
