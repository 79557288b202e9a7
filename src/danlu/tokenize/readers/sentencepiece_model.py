"""SentencePiece's ``.model`` file, unigram or BPE, and the list of pieces that some publish instead."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, processors

from ...core.errors import DataError
from ..profile import Profile
from ..spm import BYTE, Piece, SpmModel, read_spm
from ..spm_convert import convert
from . import READERS, Reader
from .tokenizer_json import read_utf8


@READERS.add("sentencepiece_model")
class SentencepieceModel(Reader):
    """Opens a SentencePiece ``.model`` (unigram, or BPE with or without byte fallback) without its library.

    Raises: DataError if the file is no such model, or is one of whole words or single characters.
    Source: Kudo and Richardson 2018, arXiv:1808.06226; sentencepiece_model.proto.
    Truth:  tests/parity/test_tokenizers_sentencepiece.py (ids of sentencepiece itself).
    """

    order = 20

    def finds(self, path: Path) -> Path | None:
        if path.is_dir():
            return next((file for file in sorted(path.glob("*.model")) if file.is_file()), None)
        return path if path.is_file() and path.suffix == ".model" else None

    def read(self, file: Path, config: dict[str, object]) -> tuple[Tokenizer, Profile | None]:
        return open_spm(read_spm(file), config)


@READERS.add("sentencepiece_pieces")
class SentencepiecePieces(Reader):
    """Opens a SentencePiece BPE given as JSON lines ``[piece, score, type]``: dummy prefix, spaces kept as they are.

    Raises: DataError naming the line that is not of that form.
    Source: sentencepiece_model.proto, message SentencePiece.
    Truth:  tests/parity/test_tokenizers_real.py (LLaMA's ids from llama.cpp).
    """

    order = 60

    def finds(self, path: Path) -> Path | None:
        file = path / "pieces.jsonl" if path.is_dir() else path
        return file if file.is_file() and file.suffix == ".jsonl" else None

    def read(self, file: Path, config: dict[str, object]) -> tuple[Tokenizer, Profile | None]:
        return open_spm(read_pieces(file), config)


def read_pieces(file: Path) -> SpmModel:
    pieces = []
    for number, line in enumerate(read_utf8(file).split("\n"), 1):
        if not line:
            continue
        try:
            text, score, kind = json.loads(line)
            pieces.append(Piece(str(text), float(score), int(kind)))
        except (ValueError, TypeError):
            raise DataError("a piece is [text, score, type]; correct the line", file=file, line=number) from None
    fallback = sum(piece.type == BYTE for piece in pieces) == 256
    return SpmModel(pieces=tuple(pieces), kind="bpe", byte_fallback=fallback, trim_spaces=False)


def open_spm(model: SpmModel, config: dict[str, object]) -> tuple[Tokenizer, Profile]:
    """The engine and its special tokens.

    Around a text go bos and eos as the configuration says; where it is silent bos alone (LLaMA), or eos alone in a
    vocabulary without bos (T5).
    """
    engine = convert(model)
    names = {role: model.special(place) for role, place in _places(model).items()}
    before = [names["bos"]] if names["bos"] and config.get("add_bos_token", True) else []
    after = [names["eos"]] if names["eos"] and config.get("add_eos_token", not names["bos"]) else []
    if before or after:
        special = [(text, engine.token_to_id(text)) for text in (*before, *after)]
        engine.post_processor = processors.TemplateProcessing(
            single=" ".join([*before, "$A", *after]), special_tokens=special
        )
    return engine, Profile(bos=names["bos"], eos=names["eos"], pad=names["pad"], unk=names["unk"])


def _places(model: SpmModel) -> dict[str, int]:
    return {"bos": model.bos, "eos": model.eos, "pad": model.pad, "unk": model.unknown}
