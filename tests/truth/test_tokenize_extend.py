"""Growing a vocabulary: old ids stay, old spellings are refined, sizes are the published ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.tokenizer_corpus import CHINESE, ENGLISH, TEXTS, corpus, opened, trained

from danlu.core.errors import ConfigError, DataError
from danlu.tokenize import Tokenizer, extend, extend_with, load_tokenizer, tokens_per_character, train

NEW = [f"{a}{b}" for a in CHINESE for b in CHINESE] * 3


@pytest.fixture(scope="module")
def llama(shared: Path) -> Tokenizer:
    return opened(shared / "tokenizers/llama-spm/pieces.jsonl")


@pytest.mark.slow
def test_llama_with_chinese_has_49953_pieces(shared: Path, llama: Tokenizer) -> None:
    """The figure of Chinese LLaMA; fewer tokens a Chinese character; round trips; old ids unmoved."""
    grown = extend_with(llama, opened(shared / "tokenizers/chinese_sp.model"))
    merged = grown.tokenizer
    assert merged.vocab_size == 49_953
    assert len(grown.pieces) == 17_953
    assert grown.unreached < 0.02 * len(grown.pieces)
    assert [merged.piece(token) for token in range(32_000)] == [llama.piece(token) for token in range(32_000)]
    assert (merged.bos, merged.eos, merged.unk) == (1, 2, 0)
    poems = "\n".join(sorted((shared / "lm/zh").iterdir())[0].read_text(encoding="utf-8")[:20_000].splitlines())
    for text in (poems, *TEXTS):
        assert merged.decode(merged.encode(text)) == text
        assert _refined(merged.encode(text), llama, grown.pieces) == llama.encode(text)
    assert tokens_per_character(merged, [poems]) < 0.75 * tokens_per_character(llama, [poems])
    assert [merged.piece(token) for token in merged.encode("人工智能", False)] == ["▁", "人工智能"]


@pytest.mark.parametrize("kind", ["byte_bpe", "bpe_fallback"])
def test_a_text_is_spelled_as_before_and_then_joined_further(kind: str) -> None:
    base = train(iter(ENGLISH * 20), kind, vocab=560)
    grown = extend(base, iter(NEW), add=80)
    after = grown.tokenizer
    assert after.vocab_size == base.vocab_size + len(grown.pieces) > base.vocab_size
    assert len(grown.pieces) <= 80
    assert [after.piece(token) for token in range(base.vocab_size)] == [base.piece(t) for t in range(base.vocab_size)]
    for text in (*TEXTS, *NEW[:10]):
        assert _refined(after.encode(text), base, grown.pieces) == base.encode(text)
        assert after.decode(after.encode(text)) == base.decode(base.encode(text))
        assert after.encode_batch([text]) == [after.encode(text)]
    assert tokens_per_character(after, NEW) < 0.7 * tokens_per_character(base, NEW)
    used = {token for text in NEW for token in after.encode(text)}
    assert len([token for token in range(base.vocab_size, after.vocab_size) if token in used]) > 40


def test_the_special_tokens_stay_where_they_are(shared: Path, tmp_path: Path) -> None:
    """tiny_bpe keeps its special tokens behind its pieces: the new ones come after them, also when read again."""
    base = opened(shared / "tokenizers/tiny_bpe")
    grown = extend(base, iter(ENGLISH * 10), add=30).tokenizer
    assert grown.special == base.special == {"<|endoftext|>": 2000, "<|im_start|>": 2001, "<|im_end|>": 2002}
    grown.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.fingerprint() == grown.fingerprint()
    assert again.special == base.special
    assert again.encode(ENGLISH[0]) == grown.encode(ENGLISH[0])
    assert again.encode_marked("<|im_end|>") == [2002]


def test_unigram_uses_its_new_pieces() -> None:
    pytest.importorskip("sentencepiece", reason="unigram vocabularies grow by the extra 'sentencepiece'")
    base = train(iter(ENGLISH * 20), "unigram", vocab=420)
    grown = extend(base, iter(NEW), add=60)
    after = grown.tokenizer
    assert [after.piece(token) for token in range(base.vocab_size)] == [base.piece(t) for t in range(base.vocab_size)]
    for n, token in enumerate(range(base.vocab_size, after.vocab_size)):
        text = after.piece_bytes(token).decode()
        assert after.encode(text) == [token]
        assert grown.pieces[n] == base.encode(text)
    assert all(after.decode(after.encode(text)) == text for text in TEXTS)
    assert tokens_per_character(after, NEW) < 0.7 * tokens_per_character(base, NEW)
    assert type(after.engine) is type(base.engine)


def test_wordpiece_takes_new_words() -> None:
    base = train(iter(["the keeper wrote " * 10]), "wordpiece", vocab=60)
    grown = extend(base, iter(["lighthouse lighthouse keeper"] * 20), add=40)
    after = grown.tokenizer
    assert [after.piece(token) for token in range(base.vocab_size)] == [base.piece(t) for t in range(base.vocab_size)]
    assert [after.piece(token) for token in after.encode("lighthouse")] == ["lighthouse"]
    assert after.encode("lighthouse")[0] >= base.vocab_size
    assert base.encode("lighthouse") == [base.unk]


def test_byte_level_takes_the_pieces_of_another() -> None:
    base, other = train(iter(ENGLISH * 20), "byte_bpe", vocab=400), trained("bpe_fallback")
    grown = extend_with(base, other)
    after = grown.tokenizer
    for text in TEXTS:
        assert after.decode(after.encode(text)) == text
        assert _refined(after.encode(text), base, grown.pieces) == base.encode(text)
    assert tokens_per_character(after, corpus()[16:32]) < tokens_per_character(base, corpus()[16:32])


def test_reserved_ids_fill_the_rows_a_model_has_beyond_its_vocabulary() -> None:
    base = trained("byte_bpe")
    grown = extend(base, iter(NEW), add=10, rows=base.vocab_size + 7)
    after = grown.tokenizer
    assert after.vocab_size == base.vocab_size + 7 + len(grown.pieces)
    assert after.piece(base.vocab_size + 6) == f"<|reserved_{base.vocab_size + 6}|>"
    assert after.encode_marked(f"<|reserved_{base.vocab_size}|>") == [base.vocab_size]
    with pytest.raises(ConfigError, match="the model has 5 rows"):
        extend(base, iter(NEW), rows=5)


def test_nothing_to_learn_from(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(DataError, match="holds no text"):
        extend(trained("byte_bpe"), [tmp_path / "empty.txt"])
    with pytest.raises(ConfigError, match="add must be at least 1"):
        extend(trained("byte_bpe"), iter(NEW), add=0)


def _refined(ids: list[int], base: Tokenizer, pieces: list[list[int]]) -> list[int]:
    """New ids written out in the old ones they are made of."""
    old = base.vocab_size
    return [token for n in ids for token in ([n] if n < old else pieces[n - old])]
