"""Keys of long beginnings on disk: an engine that starts anew need not read them again."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..core.errors import ConfigError
from ..core.files import atomic, remove_drafts
from ..core.spec import Spec
from .blocks import keys
from .fingerprints import digest, fingerprint
from .jobs import Job

if TYPE_CHECKING:
    from .engine import Engine

FORMAT = 1


class PromptCache:
    """One file a beginning, in ``folder``: its token ids and the blocks of the engine's pool that hold its keys.

    A file serves requests of the same model and adapters, to the number, whose keys are kept in the same way; it is
    read when a request begins like it. ``write`` writes beginnings of ``least`` tokens or more that requests were seen
    to share; the oldest files go where all take more than ``bytes_``. Texts of requests with a salt are never written,
    nor those that begin with an adapter's virtual tokens.
    Raises: ConfigError if the folder cannot be written to. A file that does not fit is not used and one warning says
    why.
    Source: Gim et al. 2024, arXiv:2311.04934, §3 (keys of prompts kept for later requests).
    Truth:  tests/truth/test_prompt_cache.py (the text of an engine that has read all; nothing is used that is off).
    """

    def __init__(self, folder: str | Path, engine: Engine, *, least: int = 64, bytes_: int = 1 << 30) -> None:
        self.folder, self.engine, self.least, self.bytes_ = Path(folder), engine, least, bytes_
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_drafts(self.folder)
        except OSError as error:
            reason = f"{error.strerror or error}"
            raise ConfigError(f"prompt cache {folder}: {reason}; name a folder that can be written to") from None
        settings = engine.settings
        pages = engine.forward.pages
        cache = Spec.read(settings.cache).write()
        self.kind = {"format": FORMAT, "cache": cache, "block": settings.block, "dtype": str(pages.dtype)}
        self.places: dict[bytes, tuple[Path, int]] = {}  # where on disk the block with this key is
        self.chains: dict[Path, list[bytes]] = {}
        self.shared: dict[bytes, tuple[tuple[str, ...], list[int]]] = {}  # beginnings to write, by their last key
        self.marks: dict[tuple[str, ...], str] = {}
        for file in sorted(self.folder.glob("*.safetensors")):
            self._enter(file)
        engine.prompts = self

    # ── what the engine tells ────────────────────────────────────────────────────────────────────────────────────
    def wanted(self, job: Job) -> None:
        """A request came: the longest beginning of its prompt that is on disk and not in the pool is read."""
        if not self._serves(job):
            return
        row, blocks = job.rows[0], self.engine.scheduler.blocks
        assert job.root is not None
        row.keys = keys(job.root, row.prompt[:-1], blocks.size, row.keys)
        for key in reversed(row.keys):
            if blocks.find(key) is not None:
                return
            if key in self.places:
                file, place = self.places[key]
                self._read(file, place + 1)
                return

    def found(self, job: Job, tokens: int) -> None:
        """So many tokens of a prompt were in the pool, left by another."""
        if tokens >= self.least and self._serves(job):
            row = job.rows[0]
            key = row.keys[tokens // self.engine.settings.block - 1]
            if key not in self.places:
                self.shared[key] = job.readings[row.serial].adapters, row.prompt[:tokens]

    def write(self) -> int:
        """Writes the beginnings that were shared, as far as the pool still holds them; how many."""
        noted, self.shared = self.shared, {}
        written = [self._write(adapters, ids) for adapters, ids in noted.values()]
        self._trim()
        return sum(written)

    # ── files ────────────────────────────────────────────────────────────────────────────────────────────────────
    def _enter(self, file: Path) -> None:
        """Learns what a file holds, if it can be used."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(file, "pt") as opened:
                said = json.loads(opened.metadata()["danlu"])
                ids = opened.get_tensor("ids").tolist()
            adapters, model, kind = tuple(said["adapters"]), said["model"], said["kind"]
        except (SafetensorError, OSError, ValueError, KeyError, TypeError):
            return _unused(file, "is damaged")
        if kind != self.kind:
            return _unused(file, f"keeps keys as {kind}, and this engine as {self.kind}")
        if not set(adapters) <= set(self.engine.adapters) or model != self._mark(adapters):
            return _unused(file, "is of another model or other adapters")
        self._enlist(file, adapters, ids)

    def _enlist(self, file: Path, adapters: tuple[str, ...], ids: Sequence[int]) -> None:
        self.chains[file] = keys(self.engine.admission.chain(adapters), ids, self.engine.settings.block)
        for place, key in enumerate(self.chains[file]):
            self.places.setdefault(key, (file, place))

    def _read(self, file: Path, count: int) -> None:
        """Puts the first ``count`` blocks of a file into the pool, where they are free until somebody begins so."""
        from safetensors import SafetensorError, safe_open

        blocks, pages, chain = self.engine.scheduler.blocks, self.engine.forward.pages, self.chains[file]
        twin = pages.twin(len(chain), "cpu")
        try:
            with safe_open(file, "pt") as opened:
                tensors = {name: opened.get_tensor(name) for name in twin.held()}
                told = json.loads(opened.metadata()["danlu"])["sum"]
            twin.fill(tensors)
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError):
            return self._drop(file, "is damaged")
        if told != digest(tensors.values()):
            return self._drop(file, "is damaged: its numbers are not those that were written")
        self.engine.follow()
        held: list[int] = []
        pairs: list[tuple[int, int]] = []
        for place, key in enumerate(chain[:count]):
            if (block := blocks.find(key)) is not None:
                blocks.share(block)
            elif blocks.free:
                block = blocks.adopt(key, held[-1] if held else None)
                pairs.append((place, block))
            else:
                break
            held.append(block)
        pages.bring(twin, pairs)
        for block in reversed(held):
            blocks.give(block)

    def _write(self, adapters: tuple[str, ...], ids: Sequence[int]) -> bool:
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        blocks, pages = self.engine.scheduler.blocks, self.engine.forward.pages
        chain = keys(self.engine.admission.chain(adapters), ids, blocks.size)
        found = [block for block in map(blocks.find, chain) if block is not None]
        if len(found) < len(chain) or chain[-1] in self.places:
            return False
        twin = pages.twin(len(found), "cpu")
        twin.bring(pages, [(block, place) for place, block in enumerate(found)])
        twin.settled(range(len(found)))
        tensors = dict(twin.held())
        mark = self._mark(adapters)
        said = {"adapters": adapters, "model": mark, "kind": self.kind, "sum": digest(tensors.values())}
        name = blake2b(f"{mark} {self.kind} {list(ids)}".encode(), digest_size=16).hexdigest()
        file = self.folder / f"{name}.safetensors"
        try:
            with atomic(file) as draft:
                save_file(tensors | {"ids": torch.tensor(ids)}, draft, {"danlu": json.dumps(said)})
        except (OSError, SafetensorError) as error:
            warnings.warn(f"{file}: cannot be written ({error}); the beginning is not kept", stacklevel=3)
            return False
        self._enlist(file, adapters, ids)
        return True

    def _trim(self) -> None:
        """The oldest files go where there are too many bytes."""
        files = sorted(self.folder.glob("*.safetensors"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
        taken = 0
        for file in files:
            taken += file.stat().st_size
            if taken > self.bytes_:
                file.unlink(missing_ok=True)
                self._forget(file)

    def _drop(self, file: Path, why: str) -> None:
        self._forget(file)
        _unused(file, why)

    def _forget(self, file: Path) -> None:
        self.chains.pop(file, None)
        self.places = {key: found for key, found in self.places.items() if found[0] != file}

    # ── whom they serve ──────────────────────────────────────────────────────────────────────────────────────────
    def _serves(self, job: Job) -> bool:
        row = job.rows[0]
        chain = self.engine.admission.chain(job.readings[row.serial].adapters)
        return self.engine.settings.reuse and job.root == chain and not row.extra

    def _mark(self, adapters: tuple[str, ...]) -> str:
        if adapters not in self.marks:
            self.marks[adapters] = fingerprint(self.engine.model, adapters)
        return self.marks[adapters]


def _unused(file: Path, why: str) -> None:
    warnings.warn(f"{file}: {why}; it is not used, and can be deleted", stacklevel=4)
