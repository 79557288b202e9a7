"""The vocabularies that others ship, and the ids their own test suites publish."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.tokenizer_corpus import TEXTS, opened

from danlu.tokenize import Tokenizer, load_tokenizer

CASES = {"bert-base-uncased": "bert-base-uncased", "gpt-2": "gpt-2", "llama-spm": "llama-spm/pieces.jsonl"}
SHIPPED = [*CASES.values(), "minimind", "tiny_bpe", "t5_spiece.model", "sp_test_model.model", "chinese_sp.model"]


@pytest.mark.parametrize("name", CASES)
def test_published_ids(shared: Path, name: str) -> None:
    tokenizer = opened(shared / "tokenizers" / CASES[name])
    cases = json.loads((shared / "tokenizers" / name / "cases.json").read_text(encoding="utf-8"))["cases"]
    assert len(cases) > 40
    assert [tokenizer.encode(case["text"]) for case in cases] == [case["ids"] for case in cases]
    assert tokenizer.encode_batch(case["text"] for case in cases) == [case["ids"] for case in cases]


def test_ids_copied_from_test_suites(shared: Path) -> None:
    known = json.loads((shared / "tokenizers/known_ids.json").read_text())
    gpt2, t5 = (opened(shared / "tokenizers" / name) for name in ("gpt-2", "t5_spiece.model"))
    assert all(gpt2.encode(text) == ids for text, ids in known["gpt2"])
    for text, ids in known["gpt2_special"]:
        assert gpt2.encode(text, special=True) == gpt2.encode_marked(text) == ids
        assert gpt2.eos not in gpt2.encode(text)  # text that spells a special token is text
        assert gpt2.decode(gpt2.encode(text)) == text
    for text, ids in known["t5_spiece"]:
        assert t5.encode(text, special=True) == ids
        assert t5.encode(text) == ids[:-1]
        assert t5.decode(ids) == text


def test_one_vocabulary_in_two_forms(shared: Path, tmp_path: Path) -> None:
    """tokenizer.json and vocab.json + merges.txt of GPT-2 spell alike."""
    folder = shared / "tokenizers/gpt-2"
    pair = load_tokenizer(folder)
    pair.save(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["tokenizer.json", "tokenizer_config.json"]
    one = load_tokenizer(tmp_path / "tokenizer.json")
    assert [one.encode(text) for text in TEXTS] == [pair.encode(text) for text in TEXTS]
    for name in ("vocab.json", "merges.txt"):
        assert load_tokenizer(folder / name).encode("hello world") == [31373, 995]


@pytest.mark.parametrize("name", ["minimind", "tiny_bpe"])
def test_transformers_reads_the_same_ids(shared: Path, name: str) -> None:
    transformers = pytest.importorskip("transformers")
    ours, theirs = (
        load(shared / "tokenizers" / name) for load in (load_tokenizer, transformers.AutoTokenizer.from_pretrained)
    )
    for text in TEXTS:
        plain = theirs.encode(text, add_special_tokens=False, split_special_tokens=True)
        assert ours.encode(text) == ours.encode_batch([text])[0] == plain
        assert ours.encode(text, special=True) == theirs.encode(text)
        assert ours.decode(plain) == theirs.decode(plain, skip_special_tokens=True)


def test_roles_of_minimind(shared: Path) -> None:
    tokenizer = opened(shared / "tokenizers/minimind")
    assert (tokenizer.bos, tokenizer.eos, tokenizer.pad, tokenizer.unk) == (1, 2, 0, 0)
    assert tokenizer.stops == (2,)
    assert tokenizer.vocab_size == 6400


@pytest.mark.parametrize("name", SHIPPED)
def test_saved_and_read_again(shared: Path, tmp_path: Path, name: str) -> None:
    tokenizer = opened(shared / "tokenizers" / name)
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.fingerprint() == tokenizer.fingerprint()
    assert _facts(again) == _facts(tokenizer)
    assert [again.encode(text, special=True) for text in TEXTS] == [tokenizer.encode(t, special=True) for t in TEXTS]


def test_added_tokens_of_the_configuration(shared: Path, tmp_path: Path) -> None:
    """A vocab.json whose special tokens stand in tokenizer_config.json alone."""
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(shared / "tokenizers/tiny_bpe" / name, tmp_path)
    added = {str(2000 + n): {"content": text, "special": True} for n, text in enumerate(("<|end|>", "<|go|>"))}
    config = {"added_tokens_decoder": added, "eos_token": {"content": "<|end|>"}, "pad_token": "<|absent|>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.special == {"<|end|>": 2000, "<|go|>": 2001}
    assert (tokenizer.eos, tokenizer.pad, tokenizer.vocab_size) == (2000, None, 2002)
    assert tokenizer.encode_marked("<|go|>") == [2001]


def _facts(tokenizer: Tokenizer) -> tuple[object, ...]:
    roles = (tokenizer.bos, tokenizer.eos, tokenizer.pad, tokenizer.unk)
    return tokenizer.vocab_size, roles, tokenizer.special, tokenizer.stops
