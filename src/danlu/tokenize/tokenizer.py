"""The tokenizer that every room holds: text to ids and back, special tokens by role, and the chat template."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer as Backend

from ..core.errors import DataError
from ..core.files import write_json, write_text
from .decoder import Decoder
from .engines import Engine, fastest
from .engines.reference import Reference, not_text
from .marked import Marked
from .pieces import read_byte_level, read_spaced, spelling
from .profile import MARKERS, Profile

if TYPE_CHECKING:
    from .template import Template


class Tokenizer:
    """Ids of text, text of ids.

    ``encode`` never makes a special token unless asked: text that spells one is text. ``encode(special=True)`` is what
    a model's own tokenizer does to a text: special tokens in it are recognized, and bos or eos added as configured.
    """

    def __init__(self, backend: Backend, profile: Profile, *, source: str = "") -> None:
        self.backend, self.profile, self.source = backend, profile, source
        backend.encode_special_tokens = False
        self._description: dict[str, Any] = json.loads(backend.to_str())
        self._special = {t.content: n for n, t in backend.get_added_tokens_decoder().items() if t.special}

    # ── sizes and names ──────────────────────────────────────────────────────────────────────────────────────────
    @cached_property
    def vocab_size(self) -> int:
        """One more than the highest id: how many rows an embedding needs."""
        return max(self.backend.get_vocab(with_added_tokens=True).values()) + 1

    @property
    def bos(self) -> int | None:
        return self._role(self.profile.bos)

    @property
    def eos(self) -> int | None:
        return self._role(self.profile.eos)

    @property
    def pad(self) -> int | None:
        return self._role(self.profile.pad)

    @property
    def unk(self) -> int | None:
        return self._role(self.profile.unk)

    @cached_property
    def stops(self) -> tuple[int, ...]:
        """Ids that end a generation: eos, and what the chat template writes after an answer."""
        ends = (self.eos, self.template.end_of_turn)
        return tuple(dict.fromkeys(token for token in ends if token is not None))

    @property
    def special(self) -> dict[str, int]:
        """The special tokens: text → id."""
        return dict(self._special)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        return frozenset(self._special.values())

    @cached_property
    def template(self) -> Template:
        """The chat template: the configuration's, or ChatML where the vocabulary has its markers."""
        from .template import Template, chatml

        templates = self.profile.templates
        if not templates and set(self._special) >= MARKERS:
            templates = {"default": chatml()}
        return Template(self, templates)

    def _role(self, text: str | None) -> int | None:
        return None if text is None else self.backend.token_to_id(text)

    # ── text to ids ──────────────────────────────────────────────────────────────────────────────────────────────
    def encode(self, text: str, special: bool = False) -> list[int]:
        """The ids of a text; raises DataError if it holds half a surrogate pair, which is no character."""
        if not special:
            return self._reference.encode(text)
        try:
            return self.backend.encode(text, add_special_tokens=True).ids
        except (UnicodeEncodeError, TypeError) as error:
            raise not_text(text, error) from None

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        """``[encode(text) for text in texts]`` by the fastest engine that gives these very ids."""
        return self.engine.encode_batch(list(texts))

    def encode_marked(self, text: str, *, continues: bool = False) -> list[int]:
        """Special tokens written in ``text`` become their ids; nothing is added.

        ``continues``: the text goes on after other text, so no space is put before it by vocabularies that do so.
        """
        return self.marked.encode(text, continues=continues)

    @cached_property
    def engine(self) -> Engine:
        """The fastest engine, chosen and verified at first use."""
        return fastest(self._plain, self._description)

    @cached_property
    def _plain(self) -> Backend:
        """A copy that treats special tokens in a text as text; a copy, because the switch belongs to all threads."""
        copy = Backend.from_str(json.dumps(self._description))
        copy.encode_special_tokens = True
        return copy

    @cached_property
    def _reference(self) -> Reference:
        return Reference(self._plain)

    @cached_property
    def marked(self) -> Marked:
        """What encodes text in which special tokens are written out."""
        return Marked(self.backend, self._description, self.engine)

    # ── ids to text ──────────────────────────────────────────────────────────────────────────────────────────────
    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """The text; raises DataError if an id is outside the vocabulary."""
        numbers = [int(token) for token in ids]
        if numbers and not (min(numbers) >= 0 and max(numbers) < self.vocab_size):
            wrong = next(n for n in numbers if not 0 <= n < self.vocab_size)
            raise DataError(f"token id {wrong} lies outside the vocabulary of {self.vocab_size}; use its own tokenizer")
        return self.backend.decode(numbers, skip_special_tokens=skip_special)

    def decoder(self, skip_special: bool = True) -> Decoder:
        """Decodes ids one by one; never gives half a character."""
        return Decoder(self.spoken, self.special_ids if skip_special else frozenset())

    def piece(self, token: int) -> str:
        """How the vocabulary spells an id; "" for a number it leaves out."""
        return self.backend.id_to_token(int(token)) or ""

    def id(self, piece: str) -> int | None:
        return self.backend.token_to_id(piece)

    def piece_bytes(self, token: int) -> bytes:
        """The bytes an id stands for: ``Ġa`` and ``▁a`` are ``b" a"``, ``<0x0A>`` is ``b"\\n"``."""
        piece = self.piece(token)
        return piece.encode() if token in self._added else self.spelling(piece)

    def spoken(self, token: int, first: bool) -> bytes:
        """The bytes an id adds to a text, given whether it is the text's first."""
        if self._joins:
            spoken = self.piece_bytes(token)
            return spoken[1:] if first and self._strips and spoken[:1] == b" " else spoken
        decoder = self.backend.decoder
        if decoder is None:
            return (b"" if first else b" ") + self.piece_bytes(token)
        if first:
            return decoder.decode([self.piece(token)]).encode()
        return decoder.decode(["a", self.piece(token)])[1:].encode()

    @cached_property
    def _joins(self) -> bool:
        """Whether a text is the bytes of its pieces one after the other."""
        return self.spelling in (read_byte_level, read_spaced) or "Fuse" in json.dumps(self._description["decoder"])

    @cached_property
    def _strips(self) -> bool:
        """Whether decoding drops the space a vocabulary puts before a text."""
        decoder = json.dumps(self._description["decoder"])
        always = '"Metaspace"' in decoder and '"prepend_scheme": "never"' not in decoder
        return always or '"Strip"' in decoder

    @cached_property
    def _added(self) -> frozenset[int]:
        return frozenset(self.backend.get_added_tokens_decoder())

    @cached_property
    def spelling(self) -> Callable[[str], bytes]:
        """What bytes a piece that is no added token stands for."""
        return spelling(self._description)

    # ── keeping ──────────────────────────────────────────────────────────────────────────────────────────────────
    @property
    def description(self) -> dict[str, Any]:
        """The content of ``tokenizer.json``: a copy."""
        return json.loads(json.dumps(self._description))

    def fingerprint(self) -> str:
        """A hash of everything that decides an id or a rendered conversation."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        roles = [self.profile.bos, self.profile.eos, self.profile.pad, self.profile.unk]
        content = json.dumps([self._description, roles, self.template.sources], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()

    def save(self, folder: str | Path) -> None:
        """Writes ``tokenizer.json`` and ``tokenizer_config.json``, which ``transformers.AutoTokenizer`` opens."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "tokenizer.json", json.dumps(self._description, ensure_ascii=False, indent=1) + "\n")
        templates = self.template.sources
        profile = self.profile if self.profile.templates == templates else _with(self.profile, templates)
        write_json(folder / "tokenizer_config.json", profile.write())

    def with_template(self, template: str) -> Tokenizer:
        """The same vocabulary with another chat template (Jinja)."""
        return Tokenizer(self.backend, self.profile.with_template(template), source=self.source)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (json.dumps(self._description), self.profile, self.source)

    def __repr__(self) -> str:
        return f"Tokenizer({self.source or 'trained'!r}, {self.vocab_size} pieces)"


def _with(profile: Profile, templates: dict[str, str]) -> Profile:
    return Profile(
        bos=profile.bos, eos=profile.eos, pad=profile.pad, unk=profile.unk, templates=templates, rest=profile.rest
    )


def _rebuild(description: str, profile: Profile, source: str) -> Tokenizer:
    return Tokenizer(Backend.from_str(description), profile, source=source)
