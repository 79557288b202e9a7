"""Byte-level byte-pair encoding, GPT-2's."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from ..patterns import normalizer, words
from ..pieces import byte_alphabet
from . import TRAINERS, VocabularyTrainer, watched


@TRAINERS.add("byte_bpe")
class ByteBpe(VocabularyTrainer):
    """Joins, again and again, the adjacent pair of pieces that is most frequent, starting from the 256 bytes.

    next piece = argmax over pairs (a, b) within words of count(a b).  Any text is spelled, none is unknown.
    Ids: special tokens, bytes by value, pieces in the order they were learned.
    ``digits``: single cuts numbers into digits, triple into groups of at most three, joined not at all.
    Raises: ConfigError if vocab has no room for the bytes, or a setting has no such value.
    Source: Sennrich et al. 2016, arXiv:1508.07909; Radford et al. 2019, §2.2 (on bytes).
    Truth:  tests/truth/test_tokenize_byte_bpe.py (the textbook example; a naive trainer on random words).
    """

    fewest = 256

    def __init__(
        self, vocab: int, specials: tuple[str, ...], *, digits: str = "single", normalization: str = "none"
    ) -> None:
        super().__init__(vocab, specials)
        self._pattern, self._normalizer = words(digits), normalizer(normalization)

    def learn(self, texts: Iterator[str]) -> Backend:
        engine = self._empty(models.BPE())
        trainer = trainers.BpeTrainer(  # pyright: ignore[reportCallIssue]
            vocab_size=self.vocab - len(self.specials),
            initial_alphabet=list(byte_alphabet().values()),
            min_frequency=2,
            special_tokens=[],
            show_progress=watched(),
        )
        engine.train_from_iterator(texts, trainer)
        merges = merges_of(engine)
        alphabet = byte_alphabet()
        pieces = [*self.specials, *(alphabet[byte] for byte in range(256)), *(left + right for left, right in merges)]
        return self.mark(self._empty(models.BPE({piece: n for n, piece in enumerate(pieces)}, merges)))

    def _empty(self, model: models.BPE) -> Backend:
        engine = Backend(model)
        if self._normalizer is not None:
            engine.normalizer = self._normalizer
        engine.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(self._pattern), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        engine.decoder = decoders.ByteLevel()
        return engine


def merges_of(engine: Backend) -> list[tuple[str, str]]:
    """The merges of a trained BPE, in order."""
    return [(left, right) for left, right in json.loads(engine.to_str())["model"]["merges"]]
