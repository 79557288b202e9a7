"""What every way of learning a vocabulary keeps."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.tokenizer_corpus import TEXTS, corpus, trained

from danlu.core.errors import ConfigError, DataError
from danlu.core.spec import Spec
from danlu.tokenize import TRAINERS, train
from danlu.tokenize.engines import ENGINES
from danlu.tokenize.extenders import EXTENDERS
from danlu.tokenize.readers import READERS
from danlu.tokenize.training import CHAT

pytest.importorskip("sentencepiece", reason="unigram vocabularies are trained by the extra 'sentencepiece'")


@pytest.mark.parametrize("kind", list(TRAINERS))
def test_specials_come_first_and_stay_apart(kind: str) -> None:
    tokenizer = trained(kind)
    assert [tokenizer.id(text) for text in CHAT] == [0, 1, 2, 3]
    assert tokenizer.pad == 3 != tokenizer.eos
    assert tokenizer.vocab_size <= 640
    assert all(tokenizer.piece(token) for token in range(tokenizer.vocab_size))
    assert tokenizer.encode_marked("".join(CHAT)) == [0, 1, 2, 3]
    assert not set(tokenizer.encode("".join(CHAT))) & {0, 1, 2, 3}


@pytest.mark.parametrize("kind", list(TRAINERS))
def test_the_same_text_gives_the_same_vocabulary(kind: str) -> None:
    assert train(iter(corpus()), kind, vocab=640).fingerprint() == trained(kind).fingerprint()


@pytest.mark.parametrize("kind", list(TRAINERS))
def test_files_are_read_as_texts_are(kind: str, tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("".join(corpus()), encoding="utf-8")
    tokenizer = train(tmp_path, kind, vocab=640)
    assert abs(tokenizer.vocab_size - trained(kind).vocab_size) <= 8
    assert [tokenizer.decode(tokenizer.encode(text)) for text in TEXTS] == [
        trained(kind).decode(trained(kind).encode(text)) for text in TEXTS
    ]


@pytest.mark.parametrize("kind", list(TRAINERS))
def test_mistakes_are_named(kind: str) -> None:
    with pytest.raises(ConfigError, match="at least"):
        train(iter(["x"]), kind, vocab=1)
    with pytest.raises(ConfigError, match="no normalization named 'nfx'"):
        train(iter(["x"]), kind, normalization="nfx")
    with pytest.raises(ConfigError, match="has no setting"):
        train(iter(["x"]), Spec(kind, {"sizes": 3}))
    with pytest.raises(ConfigError, match="must differ"):
        train(iter(["x"]), kind, specials=("<a>", "<a>"))
    with pytest.raises(DataError, match="the iterator holds no text"):
        train(iter([""]), kind)


@pytest.mark.parametrize("kind", list(TRAINERS))
def test_every_kind_has_one_extender_and_an_engine(kind: str) -> None:
    description = trained(kind).description
    assert sum(EXTENDERS[name].serves(description) for name in EXTENDERS) == 1
    assert [name for name in ENGINES if ENGINES[name].refuses(description) is None]
    assert trained(kind).engine.encode_batch(TEXTS) == [trained(kind).encode(text) for text in TEXTS]


@pytest.mark.parametrize("name", list(READERS))
def test_a_reader_finds_nothing_in_an_empty_folder(name: str, tmp_path: Path) -> None:
    assert READERS[name]().finds(tmp_path) is None
    assert READERS[name]().finds(tmp_path / "absent.json") is None
