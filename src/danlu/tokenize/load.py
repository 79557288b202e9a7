"""Opens whatever others ship: a file, a model directory, or a name on the Hugging Face hub."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from ..core.errors import DataError
from ..core.files import read_json
from .profile import Profile
from .readers import READERS, Reader
from .readers.tokenizer_json import read_utf8
from .tokenizer import Tokenizer

HUB_ID = re.compile(r"^[\w.-]+/[\w.-]+$")
WANTED = (
    "tokenizer*.json",
    "*.model",
    "vocab.*",
    "merges.txt",
    "special_tokens_map.json",
    "*.jinja",
    "added_tokens.json",
)


def load_tokenizer(path: str | Path) -> Tokenizer:
    """From ``tokenizer.json``, ``vocab.json`` + ``merges.txt``, ``vocab.txt``, a SentencePiece ``.model``, a GGUF
    file, a directory that holds one of them, or a hub id; ``tokenizer_config.json`` and ``chat_template.jinja`` beside
    it are read too, but for a GGUF file, which says all itself.

    Raises: DataError if there is nothing to read, or what is there is damaged.
    """
    place = _place(path)
    folder = place if place.is_dir() else place.parent
    reader, file = _reader(place)
    if reader.whole:
        backend, profile = reader.read(file, {})
        return Tokenizer(backend, profile or Profile(), source=str(path))
    config = _config(folder)
    backend, profile = reader.read(file, config)
    _add_tokens(backend, config, file)
    return Tokenizer(backend, _profile(backend, config, profile, _templates(folder)), source=str(path))


def _place(path: str | Path) -> Path:
    place = Path(path)
    if place.exists():
        return place
    if not HUB_ID.match(str(path)):
        raise DataError("no such file or directory; name a tokenizer file, a model directory or a hub id", file=path)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(path), allow_patterns=list(WANTED)))
    except Exception as error:  # the hub's errors have many types; all mean that nothing came
        reason = str(error).split("\n")[0]
        raise DataError(
            f"is neither a path here nor a repository of the hub that answers ({reason})", file=path
        ) from None


def _reader(place: Path) -> tuple[Reader, Path]:
    readers = sorted((READERS[name]() for name in READERS), key=lambda reader: reader.order)
    for reader in readers:
        if (file := reader.finds(place)) is not None:
            return reader, file
    known = "tokenizer.json, vocab.json with merges.txt, vocab.txt, a SentencePiece .model or a .gguf"
    raise DataError(f"holds no vocabulary; what is read: {known}", file=place)


def _config(folder: Path) -> dict[str, Any]:
    """``tokenizer_config.json``, completed by ``special_tokens_map.json`` where it names what the former does not."""
    config: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            content = read_json(folder / name, "the tokenizer's configuration")
            if not isinstance(content, dict):
                raise DataError("must hold a JSON object; fetch it again", file=folder / name)
            config |= content
    return config


def _templates(folder: Path) -> dict[str, str]:
    file = folder / "chat_template.jinja"
    found = {"default": read_utf8(file)} if file.is_file() else {}
    more = {f.stem: read_utf8(f) for f in sorted((folder / "additional_chat_templates").glob("*.jinja"))}
    return {**found, **more}


def _add_tokens(backend: Backend, config: dict[str, Any], file: Path) -> None:
    """Tokens that only the configuration lists, at the ids it gives them."""
    listed = config.get("added_tokens_decoder")
    if not isinstance(listed, dict):
        return
    for number, entry in sorted(((int(n), e) for n, e in listed.items()), key=lambda pair: pair[0]):
        flags = {k: bool(entry[k]) for k in ("lstrip", "rstrip", "single_word", "normalized", "special") if k in entry}
        if backend.token_to_id(entry["content"]) is None:
            backend.add_tokens([AddedToken(entry["content"], **flags)])
        if (found := backend.token_to_id(entry["content"])) != number:
            raise DataError(
                f"gives {entry['content']!r} id {found}, tokenizer_config.json gives it {number}; fetch both again",
                file=file,
            )


def _profile(backend: Backend, config: dict[str, Any], said: Profile | None, templates: dict[str, str]) -> Profile:
    vocabulary = set(backend.get_vocab(with_added_tokens=True))
    fallback = said or Profile.guess({t.content for t in backend.get_added_tokens_decoder().values() if t.special})
    if not config:
        return replace(fallback, templates=templates)
    read = Profile.read(config, templates)
    return replace(
        read,
        bos=read.bos if "bos_token" in config else fallback.bos,
        eos=read.eos if "eos_token" in config else fallback.eos,
        pad=read.pad if "pad_token" in config else fallback.pad,
        unk=read.unk if "unk_token" in config else fallback.unk,
    ).known_in(vocabulary)
