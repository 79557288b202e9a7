"""The unigram language model over pieces, SentencePiece's."""

from __future__ import annotations

import io
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from typing import IO, Any

from tokenizers import Tokenizer as Backend
from tokenizers import normalizers

from ...core.errors import DataError, MissingExtra
from ..patterns import normalizer, words
from ..pieces import SPACE, byte_piece
from ..spm import BYTE, CONTROL, NORMAL, UNKNOWN, Piece, SpmModel, decode_spm
from ..spm_convert import convert
from . import TRAINERS, VocabularyTrainer

GRID = (
    1024  # scores are whole multiples of 1/1024: sums of them are exact, so every engine finds the same best spelling
)
SENTENCE = 4000  # characters that the trainer sees at once
UNKNOWN_PIECE = "<unk>"
SPELLING = "<>0123456789ABCDEFx"  # of the names of bytes, which stay text where a text spells them
SAMPLE = 2_000_000  # sentences kept; of a larger corpus a random sample


@TRAINERS.add("unigram")
class Unigram(VocabularyTrainer):
    """Each piece has a probability; a text is spelled by the sequence of pieces with the highest product of them.

    spelling(x) = argmax over p_1 … p_n = x of Σ log P(p_i);  P by expectation maximization on the corpus, pieces whose
    loss harms least pruned until vocab are left.  Trained by sentencepiece, kept as a tokenizer.json.
    Rare characters are spelled by their bytes.  A space is written ▁, so a text's own ▁ comes back as a space.
    ``coverage``: the share of all characters that are pieces; ``letters``: of the vocabulary that they may take.
    Raises: MissingExtra without sentencepiece; ConfigError if vocab is too small; DataError if the text is.
    Source: Kudo 2018, arXiv:1804.10959; Kudo and Richardson 2018, arXiv:1808.06226.
    Truth:  tests/truth/test_tokenize_unigram.py (best spelling against all spellings of short texts).
    """

    unknown = UNKNOWN_PIECE
    fewest = 257 + 16

    def __init__(
        self,
        vocab: int,
        specials: tuple[str, ...],
        *,
        digits: str = "single",
        normalization: str = "none",
        coverage: float = 0.9995,
        letters: float = 0.75,
    ) -> None:
        super().__init__(vocab, specials)
        words(digits)
        self._digits, self._coverage, self._letters = digits, coverage, letters
        self._normalizer: normalizers.Normalizer | None = normalizer(normalization)

    def learn(self, texts: Iterator[str]) -> Backend:
        try:
            import sentencepiece
        except ImportError:
            raise MissingExtra("sentencepiece", "sentencepiece", "training a unigram vocabulary") from None
        out = io.BytesIO()
        with tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n") as spool:
            rare = self._rare(self._spooled(texts, spool))
            spool.seek(0)
            try:
                sentencepiece.SentencePieceTrainer.train(  # pyright: ignore[reportAttributeAccessIssue]
                    sentence_iterator=_without(spool, rare), model_writer=out, **self._settings()
                )
            except (RuntimeError, OSError) as error:
                raise DataError(
                    f"sentencepiece cannot learn {self.vocab} pieces from this text ({_reason(error)})"
                ) from None
        engine = convert(self._ordered(decode_spm(out.getvalue())))
        if self._normalizer is not None:
            engine.normalizer = normalizers.Sequence([self._normalizer, engine.normalizer])
        return engine

    def _rare(self, counts: Counter[str]) -> set[str]:
        """The characters that are no pieces: those beyond the coverage, and those beyond their part of the room."""
        room = int((self.vocab - len(self.first) - 256) * self._letters) - len(SPELLING)
        ranked = sorted(counts, key=lambda letter: (-counts[letter], letter))
        covered = list(accumulate(counts[letter] for letter in ranked))
        enough = sum(count < self._coverage * counts.total() for count in covered) + 1
        return set(ranked[max(1, min(enough, room)) :])

    def _settings(self) -> dict[str, Any]:
        return {
            "model_type": "unigram",
            "vocab_size": self.vocab - len(self.specials),
            "hard_vocab_limit": False,
            "byte_fallback": True,
            "split_digits": self._digits == "single",
            "character_coverage": 1.0,
            "required_chars": "".join(sorted({*"".join(self.first), *SPELLING})),
            "normalization_rule_name": "identity",
            "add_dummy_prefix": False,
            "remove_extra_whitespaces": False,
            "max_sentence_length": 4 * SENTENCE + 16,
            "input_sentence_size": SAMPLE,
            "shuffle_input_sentence": True,
            "unk_id": 0,
            "bos_id": -1,
            "eos_id": -1,
            "pad_id": -1,
            "minloglevel": 2,
        }

    def _spooled(self, texts: Iterator[str], spool: IO[str]) -> Counter[str]:
        """Writes lines of at most SENTENCE characters to the disk, and counts their characters."""
        counts: Counter[str] = Counter()
        for text in texts:
            shaped = self._normalizer.normalize_str(text) if self._normalizer else text
            for line in shaped.replace("\0", " ").replace("\r", " ").split("\n"):
                counts.update(line)
                spool.writelines(f"{line[at : at + SENTENCE]}\n" for at in range(0, len(line), SENTENCE))
        return counts

    def _ordered(self, model: SpmModel) -> SpmModel:
        """Special pieces first, then the unknown one and the bytes; scores put on the grid."""
        learned = [Piece(p.text, round(p.score * GRID) / GRID) for p in model.pieces if p.type == NORMAL]
        taken = {*self.first, *map(byte_piece, range(256))}
        return SpmModel(
            pieces=(
                *(Piece(text, 0.0, CONTROL) for text in self.first if text != UNKNOWN_PIECE),
                Piece(UNKNOWN_PIECE, 0.0, UNKNOWN),
                *(Piece(byte_piece(byte), 0.0, BYTE) for byte in range(256)),
                *(piece for piece in learned if piece.text not in taken),
            ),
            kind="unigram",
            byte_fallback=True,
            dummy_prefix=False,
            trim_spaces=False,
        )


def _without(spool: IO[str], rare: set[str]) -> Iterator[str]:
    """The lines, cut where a character stands that is no piece."""
    cut = str.maketrans(dict.fromkeys(rare, "\n"))
    for line in spool:
        yield from (part for part in line.translate(cut).split("\n") if part)


def _reason(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error)).strip().removesuffix(".") or SPACE
