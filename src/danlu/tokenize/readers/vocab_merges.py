"""GPT-2's pair of files: ``vocab.json`` and ``merges.txt``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from ...core.errors import DataError
from . import READERS, Profile, Reader
from .tokenizer_json import read_utf8

MARKED = {"<s>", "</s>", "<pad>", "<unk>", "<mask>", "<bos>", "<eos>"}


@READERS.add("vocab_merges")
class VocabMerges(Reader):
    """Opens ``vocab.json`` + ``merges.txt``: byte-level BPE with GPT-2's way of cutting text into words.

    Raises: DataError if one of the files is missing, damaged or does not fit the other.
    Source: Radford et al. 2019, Language Models are Unsupervised Multitask Learners, §2.2.
    Truth:  tests/parity/test_tokenizers_real.py (ids of GPT-2's own test suites).
    """

    order = 30

    def finds(self, path: Path) -> Path | None:
        if path.is_dir():
            return next((path / n for n in ("vocab.json", "merges.txt") if (path / n).is_file()), None)
        return path if path.is_file() and (path.suffix == ".json" or path.name.endswith("merges.txt")) else None

    def read(self, file: Path, config: dict[str, object]) -> tuple[Tokenizer, Profile | None]:
        vocab_file, merges_file = file.parent / "vocab.json", file.parent / "merges.txt"
        if file.suffix == ".json":
            vocab_file = file
        for part in (vocab_file, merges_file):
            if not part.is_file():
                raise DataError(f"is missing; {file.name} is read together with it, put it there", file=part)
        vocab = _vocab(vocab_file)
        engine = Tokenizer(models.BPE(vocab, _merges(merges_file, vocab)))
        prefix = config.get("add_prefix_space") is True
        engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
        engine.decoder = decoders.ByteLevel()
        engine.post_processor = processors.ByteLevel(trim_offsets=False)
        marked = [t for t in vocab if t in MARKED or (t.startswith("<|") and t.endswith("|>") and len(t) > 4)]
        engine.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in marked])
        return engine, None


def _vocab(file: Path) -> dict[str, int]:
    try:
        vocab: Any = json.loads(read_utf8(file))
    except json.JSONDecodeError as error:
        raise DataError(f"broken JSON ({error.msg}); fetch it again", file=file, line=error.lineno) from None
    if not isinstance(vocab, dict) or not vocab or not all(type(n) is int for n in vocab.values()):
        raise DataError("is no vocabulary: it must map each piece to its id; fetch it again", file=file)
    if len(set(vocab.values())) != len(vocab):
        raise DataError("gives two pieces the same id; fetch it again", file=file)
    return vocab


def _merges(file: Path, vocab: dict[str, int]) -> list[tuple[str, str]]:
    merges = []
    for number, line in enumerate(read_utf8(file).split("\n"), 1):
        line = line.rstrip("\r")
        if not line or line.startswith("#version"):
            continue
        parts = line.split(" ")
        if len(parts) != 2:
            raise DataError(f"a merge is two pieces, found {len(parts)}; fetch it again", file=file, line=number)
        if absent := [piece for piece in (*parts, "".join(parts)) if piece not in vocab]:
            raise DataError(f"{absent[0]!r} is not in the vocab.json beside it; fetch both", file=file, line=number)
        merges.append((parts[0], parts[1]))
    return merges
