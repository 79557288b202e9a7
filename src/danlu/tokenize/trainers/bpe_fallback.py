"""Byte-pair encoding on characters, with bytes for the rare ones: LLaMA's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import regex
from tokenizers import Regex, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Backend

from ..patterns import normalizer, words
from ..pieces import SPACE, byte_piece
from . import TRAINERS, VocabularyTrainer
from .counting import alphabet, merged


@TRAINERS.add("bpe_fallback")
class BpeFallback(VocabularyTrainer):
    """Byte-pair encoding that starts from characters; a character outside the vocabulary is spelled by its bytes.

    next piece = argmax over pairs (a, b) within words of count(a b);  c outside the vocabulary → <0xXX> for each byte
    of its UTF-8.  A space is written ▁, so a text's own ▁ comes back as a space.
    ``letters``: the share of the vocabulary that single characters may take; the most frequent get in.
    Raises: ConfigError if vocab has no room for the bytes, or a setting has no such value.
    Source: Kudo and Richardson 2018, arXiv:1808.06226; Touvron et al. 2023, arXiv:2302.13971, §2.1.
    Truth:  tests/truth/test_tokenize_bpe_fallback.py (rare characters by hand; a naive trainer on random words).
    """

    unknown = "<unk>"
    fewest = 258

    def __init__(
        self,
        vocab: int,
        specials: tuple[str, ...],
        *,
        digits: str = "single",
        normalization: str = "none",
        letters: float = 0.5,
    ) -> None:
        super().__init__(vocab, specials)
        self._pattern, self._normalizer, self._share = words(digits), normalizer(normalization), letters
        self._words = regex.compile(self._pattern)

    def learn(self, texts: Iterator[str]) -> Backend:
        words: Counter[str] = Counter()
        for text in texts:
            shaped = self._normalizer.normalize_str(text) if self._normalizer else text
            words.update(word.replace(" ", SPACE) for word in self._words.findall(shaped))
        room = self.vocab - len(self.first) - 256
        letters = alphabet(words, max(1, int(room * self._share)))
        merges = merged(words, letters, room - len(letters))
        pieces = [*self.first, *map(byte_piece, range(256)), *letters, *(left + right for left, right in merges)]
        vocab = {piece: n for n, piece in enumerate(dict.fromkeys(pieces))}
        model = models.BPE(vocab, merges, unk_token=self.unknown, fuse_unk=True, byte_fallback=True)
        return self.mark(self._empty(model))

    def _empty(self, model: models.BPE) -> Backend:
        engine = Backend(model)
        if self._normalizer is not None:
            engine.normalizer = self._normalizer
        engine.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(self._pattern), "isolated"),
                pre_tokenizers.Metaspace(SPACE, prepend_scheme="never", split=False),
            ]
        )
        engine.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
        return engine
