"""A WordPiece vocabulary takes pieces as they are: the longest that fits wins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..pieces import CONTINUED
from ..tokenizer import Tokenizer
from ..trainers.wordpiece import word_pieces
from . import EXTENDERS, Additions, Extender, shortened


@EXTENDERS.add("wordpiece")
class WordpieceExtender(Extender):
    """New pieces are learned on the base's own words; a word's spelling changes only where a longer piece fits.

    Raises: nothing of its own.
    Source: Devlin et al. 2019, arXiv:1810.04805 (greedy longest match first).
    Truth:  tests/truth/test_tokenize_extend.py (old ids unmoved, new pieces used).
    """

    @classmethod
    def serves(cls, description: dict[str, Any]) -> bool:
        return description["model"]["type"] == "WordPiece"

    def learn(self, base: Tokenizer, texts: Iterator[str], count: int) -> Additions:
        cut = base.backend.pre_tokenizer.pre_tokenize_str
        shape = base.backend.normalizer.normalize_str if base.backend.normalizer else str
        learned = word_pieces((word for text in texts for word, _ in cut(shape(text))), base.vocab_size + count)
        return self._added(base, learned, count)

    def merge(self, base: Tokenizer, pieces: list[tuple[bytes, float]]) -> Additions:
        texts = [text for raw, _ in pieces if (text := shortened(raw))]
        return self._added(base, [t[1:] if t.startswith(" ") else CONTINUED + t for t in texts], len(texts))

    def write(self, description: dict[str, Any], additions: Additions, first: int) -> None:
        description["model"]["vocab"] |= {piece: first + n for n, piece in enumerate(additions.pieces)}

    def _added(self, base: Tokenizer, pieces: list[str], count: int) -> Additions:
        have = base.backend.get_vocab(with_added_tokens=True)
        new = [piece for piece in dict.fromkeys(pieces) if piece and piece != CONTINUED and piece not in have][:count]
        return Additions(new, [_old_ids(base, piece) for piece in new], [])


def _old_ids(base: Tokenizer, piece: str) -> list[int]:
    """The base's pieces of a word; for a piece inside words, as if it began one."""
    return [token for token in base.encode(piece.removeprefix(CONTINUED)) if token != base.unk]
