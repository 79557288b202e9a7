"""Adapters that come and go while the server runs: folders of one folder, named by requests and never by a path."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from ..assembly.folder import check, described, holds_adapter
from ..assembly.loading import adapter_folder, attach_folder
from ..core.errors import ConfigError
from ..infer.engine import Engine
from ..peft.attached import Base, activate, detach
from .errors import Refused
from .reader import Reader
from .service import Service


class Shelf:
    """``folder`` holds one folder an adapter; ``base`` is the model directory they must have been trained
    on (None: any). ``default`` are the adapters that act where none is named.

    Raises: ConfigError if the folder is not there.
    """

    def __init__(
        self,
        engine: Engine | Reader,
        service: Service,
        folder: str | Path,
        *,
        default: tuple[str, ...] = (),
        base: str | None = None,
    ) -> None:
        self.engine, self.service, self.folder = engine, service, Path(folder)
        self.default, self.base = default, base
        self._one = asyncio.Lock()
        if not self.folder.is_dir():
            raise ConfigError(f"{folder}: no folder to take adapters from; give one with --shelf FOLDER")

    @property
    def names(self) -> list[str]:
        """What could be loaded."""
        return sorted(entry.name for entry in self.folder.iterdir() if adapter_folder(entry) is not None)

    async def load(self, name: str, entry: str, *, again: bool = False) -> None:
        """Attaches the adapter of a folder under a name; ``again``: in the place of the one of that name.

        Raises: Refused for a name that is taken or a folder that holds none; DanluError for one of another base.
        """
        place = self._place(entry)
        async with self._one:
            if name in self.engine.adapters and not again:
                raise Refused(f"{name!r} is loaded already; unload it, or say load_inplace", param="lora_name")
            if self.base is not None:
                await asyncio.to_thread(check, self._base_of(place), place)
            if name in self.engine.adapters:
                await self._leave(name)
            await self.service.call(lambda: self._attach(name, place))

    async def unload(self, name: str) -> None:
        """Takes it off when nobody is being answered by it any more; its memory is free then."""
        async with self._one:
            if name not in self.engine.adapters:
                known = ", ".join(self.engine.adapters) or "none"
                raise Refused(f"no adapter is loaded as {name!r}; there are: {known}", status=404, param="lora_name")
            await self._leave(name)

    def _base_of(self, place: Path) -> Base:
        """Our base, with the fingerprint that an adapter asks for."""
        return Base(str(self.base), (described(place).get("base") or {}).get("fingerprint", ""))

    async def _leave(self, name: str) -> None:
        self.service.leaving.add(name)
        try:
            while self.service.using(name):
                await asyncio.sleep(0.02)
            await self.service.call(lambda: self._detach(name))
        finally:
            self.service.leaving.discard(name)

    def _attach(self, name: str, place: Path) -> None:
        model = self.engine.model
        try:
            attach_folder(model, place, name)
        finally:
            if model.switch is not None:
                activate(model, *self.default)
        self.engine.renewed(name)

    def _detach(self, name: str) -> None:
        detach(self.engine.model, name)
        self.engine.renewed(name)

    def _place(self, entry: str) -> Path:
        """A folder right under ours: a name with a separator, a dot in front or a link out of it is none."""
        place = self.folder / entry
        inside = re.fullmatch(r"\w[\w.-]*", entry) and place.resolve().parent == self.folder.resolve()
        found = adapter_folder(place) if inside else None
        if found is None or not holds_adapter(found):
            known = ", ".join(self.names) or "none"
            raise Refused(f"no adapter {entry!r} is on the server's shelf; there are: {known}", param="lora_path")
        return found
