"""WordPiece, BERT's."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from ..patterns import DIGITS, normalizer, words
from ..pieces import CONTINUED
from . import TRAINERS, VocabularyTrainer, watched


@TRAINERS.add("wordpiece")
class Wordpiece(VocabularyTrainer):
    """Pieces of words, those inside a word marked ##; a word is spelled by the longest piece that fits, left to right.

    w = p_1 ##p_2 … ##p_n, p_i = the longest piece that begins what is left; [UNK] if nothing does.
    Words end at spaces and punctuation, every Chinese character is one; spaces are not kept.
    Learned by merging frequent pairs, as the tokenizers library does: the likelihood rule of the paper is unpublished.
    Raises: ConfigError if vocab has no room for a single piece, or a setting has no such value.
    Source: Schuster and Nakajima 2012; Devlin et al. 2019, arXiv:1810.04805.
    Truth:  tests/truth/test_tokenize_wordpiece.py (greedy longest match by hand; BERT's published examples).
    """

    unknown = "[UNK]"

    def __init__(
        self, vocab: int, specials: tuple[str, ...], *, digits: str = "joined", normalization: str = "lowercase"
    ) -> None:
        super().__init__(vocab, specials)
        words(digits)
        self._digits, self._normalizer = digits, normalizer(normalization)

    def learn(self, texts: Iterator[str]) -> Backend:
        engine = self._empty(models.WordPiece({self.first[-1]: 0}, unk_token="[UNK]"))
        trainer = trainers.WordPieceTrainer(  # pyright: ignore[reportCallIssue]
            vocab_size=self.vocab - len(self.first),
            min_frequency=2,
            limit_alphabet=max(1, (self.vocab - len(self.first)) // 2),
            special_tokens=[],
            continuing_subword_prefix=CONTINUED,
            show_progress=watched(),
        )
        engine.train_from_iterator(texts, trainer)
        learned = json.loads(engine.to_str())["model"]["vocab"]
        pieces = [*self.first, *sorted(learned, key=learned.__getitem__)]
        vocab = {piece: n for n, piece in enumerate(dict.fromkeys(pieces))}
        return self.mark(self._empty(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=200)))

    def _empty(self, model: models.WordPiece) -> Backend:
        engine = Backend(model)
        clean = normalizers.BertNormalizer(
            clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=False
        )
        steps = [clean] if self._normalizer is None else [clean, self._normalizer]
        engine.normalizer = normalizers.Sequence(steps)
        cut = [pre_tokenizers.Split(Regex(DIGITS[self._digits]), "isolated")] if self._digits != "joined" else []
        engine.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), *cut])
        engine.decoder = decoders.WordPiece(CONTINUED)
        return engine
