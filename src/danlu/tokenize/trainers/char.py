"""One token a character."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models

from ..patterns import normalizer
from . import TRAINERS, VocabularyTrainer


@TRAINERS.add("char")
class Char(VocabularyTrainer):
    """Every character seen is a token; one not seen is <unk>.

    Ids: special tokens, <unk>, then the characters in the order of Unicode.  If there are more than fit into vocab,
    the most frequent get in.
    Raises: ConfigError if vocab has no room for a single character, or a setting has no such value.
    Source: Karpathy 2022, nanoGPT, data/shakespeare_char (65 characters).
    Truth:  tests/truth/test_tokenize_char.py (ids are places in the sorted set of characters).
    """

    unknown = "<unk>"

    def __init__(self, vocab: int, specials: tuple[str, ...], *, normalization: str = "none") -> None:
        super().__init__(vocab, specials)
        self._normalizer = normalizer(normalization)

    def learn(self, texts: Iterator[str]) -> Backend:
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(self._normalizer.normalize_str(text) if self._normalizer else text)
        taken = [letter for letter, _ in counts.most_common(self.vocab - len(self.first))]
        pieces = dict.fromkeys([*self.first, *sorted(taken)])
        model = models.BPE({piece: n for n, piece in enumerate(pieces)}, [], unk_token=self.unknown, fuse_unk=False)
        engine = Backend(model)
        if self._normalizer is not None:
            engine.normalizer = self._normalizer
        engine.decoder = decoders.Fuse()
        return self.mark(engine)
