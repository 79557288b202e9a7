"""A unigram vocabulary takes pieces with their log-probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..pieces import SPACE
from ..tokenizer import Tokenizer
from ..trainers.unigram import GRID, Unigram
from . import EXTENDERS, Additions, Extender, shortened

LEAD = 0.5  # nats by which a new piece is better than its old spelling, at least


@EXTENDERS.add("unigram")
class UnigramExtender(Extender):
    """A new piece's score is its log-probability in the new text, and above that of its old spelling.

    score(p) = max(log P_new(p), Σ score(old pieces of p) + ½): every new piece is used where it fits best.
    Raises: MissingExtra without sentencepiece, when learning from text.
    Source: Kudo 2018, arXiv:1804.10959 (the model); the floor is ours.
    Truth:  tests/truth/test_tokenize_extend.py (old ids unmoved, new pieces used, round trips).
    """

    @classmethod
    def serves(cls, description: dict[str, Any]) -> bool:
        return description["model"]["type"] == "Unigram"

    def learn(self, base: Tokenizer, texts: Iterator[str], count: int) -> Additions:
        learned = Unigram(count + Unigram.fewest + 2048, ()).learn(texts)
        mine = Tokenizer(learned, base.profile)
        scores = mine.description["model"]["vocab"]
        spoken = [(mine.piece_bytes(n), score) for n, (_, score) in enumerate(scores) if n not in mine.special_ids]
        additions = self.merge(base, sorted(spoken, key=lambda pair: -pair[1]))
        return Additions(additions.pieces[:count], additions.made_of[:count], additions.rules[:count])

    def merge(self, base: Tokenizer, pieces: list[tuple[bytes, float]]) -> Additions:
        vocab: list[list[Any]] = base.description["model"]["vocab"]
        have = {text for text, _ in vocab}
        additions = Additions([], [], [])
        for raw, score in pieces:
            text = (shortened(raw) or "").replace(" ", SPACE)
            if not text or text in have:
                continue
            have.add(text)
            old = [n for n in base.encode_marked(text.replace(SPACE, " "), continues=True) if n != base.unk]
            spelled = sum(vocab[n][1] for n in old) if old else score
            additions.pieces.append(text)
            additions.made_of.append(old)
            additions.rules.append(round(max(score, spelled + LEAD) * GRID) / GRID)
        return additions

    def write(self, description: dict[str, Any], additions: Additions, first: int) -> None:
        description["model"]["vocab"] += [list(pair) for pair in zip(additions.pieces, additions.rules, strict=True)]
