"""BERT's ``vocab.txt``: one WordPiece a line."""

from __future__ import annotations

from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from ...core.errors import DataError
from . import READERS, Profile, Reader
from .tokenizer_json import read_utf8

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@READERS.add("vocab_txt")
class VocabTxt(Reader):
    """Opens ``vocab.txt``: BERT's cleaning and word splitting, then the longest piece that fits, again and again.

    Text is lower-cased and loses its accents if the configuration says so (``do_lower_case``) or, without one, if no
    piece holds a capital.
    Raises: DataError if there is no [UNK] or a piece comes twice.
    Source: Devlin et al. 2019, arXiv:1810.04805, and its tokenization.py.
    Truth:  tests/parity/test_tokenizers_real.py (ids of BERT's own test suites).
    """

    order = 40

    def finds(self, path: Path) -> Path | None:
        file = path / "vocab.txt" if path.is_dir() else path
        return file if file.is_file() and file.suffix == ".txt" and not file.name.endswith("merges.txt") else None

    def read(self, file: Path, config: dict[str, object]) -> tuple[Tokenizer, Profile | None]:
        pieces = read_utf8(file).split("\n")
        while pieces and not pieces[-1]:
            pieces.pop()
        vocab = {piece.rstrip("\r"): place for place, piece in enumerate(pieces)}
        if "[UNK]" not in vocab or len(vocab) != len(pieces):
            raise DataError("is no WordPiece vocabulary: one piece a line, none twice, with [UNK]", file=file)
        return wordpiece(vocab, lower=_lower(vocab, config)), None


def wordpiece(vocab: dict[str, int], *, lower: bool) -> Tokenizer:
    """BERT's engine over a vocabulary that holds [UNK]."""
    engine = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=200))
    engine.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=lower
    )
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    engine.decoder = decoders.WordPiece("##")
    if "[CLS]" in vocab and "[SEP]" in vocab:
        engine.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])],
        )
    special = [AddedToken(token, special=True, normalized=False) for token in SPECIAL if token in vocab]
    engine.add_special_tokens(special)
    return engine


def _lower(vocab: dict[str, int], config: dict[str, object]) -> bool:
    said = config.get("do_lower_case")
    if isinstance(said, bool):
        return said
    return not any("A" <= letter <= "Z" for piece in vocab if piece[:1] != "[" for letter in piece)
