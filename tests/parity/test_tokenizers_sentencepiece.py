"""Vocabularies of SentencePiece, read without its library, against the library."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.tokenizer_corpus import TEXTS, opened

from danlu.tokenize import load_tokenizer
from danlu.tokenize.readers.sentencepiece_model import read_pieces
from danlu.tokenize.spm import SpmModel, encode_spm, read_spm

sentencepiece = pytest.importorskip("sentencepiece", reason="needs the extra 'sentencepiece'")
NAMES = ("llama-spm/pieces.jsonl", "chinese_sp.model", "sp_test_model.model", "t5_spiece.model")


def _texts(shared: Path) -> list[str]:
    """Stretches of real text, and spaces in all places."""
    chance = random.Random(5)
    english = (shared / "lm/wikitext2_valid.txt").read_text(encoding="utf-8").replace("<unk>", "")
    chinese = next(iter(sorted((shared / "lm/zh").iterdir()))).read_text(encoding="utf-8")
    cuts = [(source, chance.randrange(len(source) - 300)) for source in (english, chinese) for _ in range(300)]
    return [*(source[at : at + chance.randrange(200)] for source, at in cuts), "  a  b ", " ", "   ", "\n a\n", "a\t b"]


def _model(file: Path) -> SpmModel:
    return read_pieces(file) if file.suffix == ".jsonl" else read_spm(file)


@pytest.mark.parametrize("name", NAMES)
def test_the_ids_of_sentencepiece(shared: Path, name: str) -> None:
    file = shared / "tokenizers" / name
    library = sentencepiece.SentencePieceProcessor()
    library.LoadFromSerializedProto(encode_spm(_model(file)))
    tokenizer = opened(file)
    texts = _texts(shared)
    different = [text for text in texts if tokenizer.encode(text) != library.encode(text)]
    for text in different:  # equal sums in single precision: the library takes one, exact sums another
        ours, theirs = ([library.get_score(i) for i in ids] for ids in (tokenizer.encode(text), library.encode(text)))
        assert sum(ours) == pytest.approx(sum(theirs), rel=1e-6)
    assert len(different) <= len(texts) // 200
    spelled = [text for text in texts[::10] if tokenizer.unk not in tokenizer.encode(text)]
    assert len(spelled) > 10
    for text in spelled:
        assert tokenizer.decode(tokenizer.encode(text)) == library.decode(library.encode(text))
    assert tokenizer.vocab_size == library.get_piece_size()


def test_what_spells_a_control_piece_stays_text(shared: Path) -> None:
    for name in NAMES[:2]:
        tokenizer = opened(shared / "tokenizers" / name)
        for text in ("</s>", "<unk>", "a<s>b", "<0x0A>"):
            ids = tokenizer.encode(text)
            assert not set(ids) & tokenizer.special_ids
            assert tokenizer.decode(ids) == text


def test_a_model_of_the_library_itself(tmp_path: Path) -> None:
    """Trained and saved by sentencepiece: BPE with byte fallback, opened from a directory."""
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(text for text in TEXTS[:8] for _ in range(20)), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(tmp_path / "tokenizer"), model_type="bpe", vocab_size=600,
        byte_fallback=True, hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    tokenizer = load_tokenizer(tmp_path)
    library = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    for text in (*TEXTS[:8], "🦙", "  x"):
        assert tokenizer.encode(text) == library.encode(text)
    assert tokenizer.encode("x", special=True) == [library.bos_id(), *library.encode("x")]
