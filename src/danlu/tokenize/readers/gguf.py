"""The vocabulary of a GGUF file, with its special tokens and chat templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, processors

from ...core.errors import CheckpointError, DataError
from ...core.gguf import SUFFIX, opened
from ..gguf import KEY, ROLES, TEMPLATE
from ..gguf.vocabularies import VOCABULARIES
from ..profile import Profile
from . import READERS, Reader


@READERS.add("gguf")
class Gguf(Reader):
    """Opens the vocabulary in llama.cpp's file of a model: byte-level BPE, SentencePiece's BPE or unigram.

    Raises: DataError if the file is cut or damaged, or holds a vocabulary of another kind.
    Source: ggml-org/ggml, docs/gguf.md, tokenizer.ggml.
    Truth:  tests/parity/test_gguf_vocabularies.py (ids of llama.cpp; those of the tokenizer that was written).
    """

    order = 70
    whole = True

    def finds(self, path: Path) -> Path | None:
        return path if path.is_file() and path.suffix == SUFFIX else None

    def read(self, file: Path, config: dict[str, object]) -> tuple[Tokenizer, Profile | None]:
        try:
            with opened(file) as found:
                raw = found.fields
        except CheckpointError as error:
            raise DataError(str(error)) from None
        said = {key.removeprefix(KEY): value for key, value in raw.items() if key.startswith(KEY)}
        try:
            engine = _kind(said, file)().backend(said)
            profile = _profile(said, raw)
            engine.post_processor = _around(said, profile)
        except Exception as error:  # the library of engines raises a bare Exception
            reason = error.sentence if isinstance(error, DataError) else f"its vocabulary is not whole ({error})"
            raise DataError(f"{reason}; take another file of the model", file=file) from None
        return engine, profile


def _kind(said: dict[str, Any], file: Path) -> Any:
    name = said.get("model")
    if name not in set(VOCABULARIES):
        raise DataError(f"holds a vocabulary of kind {name!r}; there are: {', '.join(VOCABULARIES)}", file=file)
    return VOCABULARIES[name]


def _profile(said: dict[str, Any], raw: dict[str, Any]) -> Profile:
    texts = {
        ours: said["tokens"][said[f"{theirs}_token_id"]]
        for ours, theirs in ROLES.items()
        if f"{theirs}_token_id" in said
    }
    names = [name for name in raw.get("tokenizer.chat_templates", []) if f"{TEMPLATE}.{name}" in raw]
    templates = {"default": raw[TEMPLATE]} if isinstance(raw.get(TEMPLATE), str) else {}
    return Profile(**texts, templates=templates | {name: raw[f"{TEMPLATE}.{name}"] for name in names})


def _around(said: dict[str, Any], profile: Profile) -> Any:
    """What is put around a text: bos where the file says so or is of a kind that always had it."""
    first = said.get("add_bos_token", said["model"] == "llama")
    last = said.get("add_eos_token", said["model"] == "t5")
    before = [profile.bos] if first and profile.bos else []
    after = [profile.eos] if last and profile.eos else []
    places = {text: said["tokens"].index(text) for text in (*before, *after)}
    return processors.TemplateProcessing(single=[*before, "$A", *after], special_tokens=list(places.items()))
