"""The ``tokenizer.json`` of Hugging Face's tokenizers library."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer

from ...core.errors import DataError
from . import READERS, Profile, Reader


@READERS.add("tokenizer_json")
class TokenizerJson(Reader):
    """Opens a ``tokenizer.json``: vocabulary, merges, normalization and special tokens in one file.

    Raises: DataError if the file is not JSON of that format.
    Source: https://huggingface.co/docs/tokenizers
    Truth:  tests/parity/test_tokenizers_real.py (ids of transformers on shared vocabularies).
    """

    order = 10

    def finds(self, path: Path) -> Path | None:
        file = path / "tokenizer.json" if path.is_dir() else path
        return file if file.is_file() and file.suffix == ".json" and _is_engine(file) else None

    def read(self, file: Path, config: dict[str, object]) -> tuple[Tokenizer, Profile | None]:
        text = read_utf8(file)
        try:
            engine = Tokenizer.from_str(text)
        except Exception as error:  # the library raises a bare Exception
            reason = str(error).split("\n")[0]
            raise DataError(f"is no tokenizer.json that can be read ({reason}); fetch it again", file=file) from None
        engine.no_padding()
        engine.no_truncation()
        return engine, None


def read_utf8(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"is not UTF-8 at byte {error.start}; fetch it again", file=file) from None


def _is_engine(file: Path) -> bool:
    """A ``tokenizer.json`` by name or by content: ``vocab.json`` has no model."""
    if file.name == "tokenizer.json":
        return True
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError):
        return False
    return isinstance(content, dict) and isinstance(content.get("model"), dict)
