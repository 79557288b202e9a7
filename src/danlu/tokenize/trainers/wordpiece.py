"""WordPiece, BERT's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Backend

from ..patterns import DIGITS, normalizer, words
from ..pieces import CONTINUED
from . import TRAINERS, VocabularyTrainer
from .counting import alphabet, merged


@TRAINERS.add("wordpiece")
class Wordpiece(VocabularyTrainer):
    """Pieces of words, those inside a word marked ##; a word is spelled by the longest piece that fits, left to right.

    w = p_1 ##p_2 … ##p_n, p_i = the longest piece that begins what is left; [UNK] if nothing does.
    Words end at spaces and punctuation, every Chinese character is one; spaces are not kept.
    Learned by merging frequent pairs: the paper's likelihood rule was never published.
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
        cutter = self._empty(models.WordPiece({self.first[-1]: 0}, unk_token="[UNK]"))
        shape, cut = cutter.normalizer.normalize_str, cutter.pre_tokenizer.pre_tokenize_str
        words = (word for text in texts for word, _ in cut(shape(text)))
        learned = word_pieces(words, self.vocab - len(self.first))
        vocab = {piece: n for n, piece in enumerate(dict.fromkeys([*self.first, *learned]))}
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


def word_pieces(words: Iterable[str], count: int) -> list[str]:
    """At most ``count`` pieces: the characters, at the head of words and inside them apart, then what merging makes."""
    marks = _Marks()
    counts = Counter(marks.write(word) for word in words)
    letters = alphabet(counts, max(1, count // 2))
    merges = merged(counts, letters, count - len(letters))
    return [marks.read(symbols) for symbols in (*letters, *(left + right for left, right in merges))]


class _Marks:
    """A symbol of its own for each character at the head of a word and each inside one."""

    def __init__(self) -> None:
        self._symbols: dict[str, str] = {}
        self._pieces: dict[str, str] = {}

    def write(self, word: str) -> str:
        return "".join(self._symbol(letter if n == 0 else CONTINUED + letter) for n, letter in enumerate(word))

    def read(self, symbols: str) -> str:
        pieces = [self._pieces[symbol] for symbol in symbols]
        return pieces[0] + "".join(piece.removeprefix(CONTINUED) for piece in pieces[1:])

    def _symbol(self, piece: str) -> str:
        if piece not in self._symbols:
            code = 0x100 + len(self._symbols)
            symbol = chr(code if code < 0xD800 else code + 0x800)
            self._symbols[piece], self._pieces[symbol] = symbol, piece
        return self._symbols[piece]
