"""Names for interchangeable parts: one registry a kind, filled by the files of one folder."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Generic, TypeVar

from .errors import ConfigError, unknown

T = TypeVar("T")
P = TypeVar("P")


class Registry(Generic[T]):
    """Maps a short name to a part of one kind.

    A part registers itself with ``@POSITIONS.add("rope")``. The first look-up imports every module of ``package``, so
    adding a part means adding a file. ``"my_pkg.mod:Name"`` reaches a part outside the package.

    Raises: ConfigError if the name is unknown or the outside part cannot be imported.
    """

    by_base: ClassVar[dict[type, Registry[Any]]] = {}
    by_kind: ClassVar[dict[str, Registry[Any]]] = {}

    def __init__(self, kind: str, base: type, package: str) -> None:
        self.kind, self.base, self.package = kind, base, package
        self._parts: dict[str, T] = {}
        self._loaded = self._loading = False
        self._lock = threading.RLock()
        Registry.by_base[base] = self
        Registry.by_kind[kind] = self

    def add(self, name: str) -> Callable[[P], P]:
        """Registers what it decorates, which keeps its own type."""

        def register(part: P) -> P:
            if name in self._parts:
                raise ValueError(f"{self.kind} {name!r} is registered twice: {self._parts[name]} and {part}")
            self._parts[name] = part  # type: ignore[assignment]
            return part

        return register

    def __getitem__(self, name: str) -> T:
        if ":" in name:
            return self._outside(name)
        if name not in set(self):
            raise unknown(self.kind, name, list(self))
        return self._parts[name]

    def __iter__(self) -> Iterator[str]:
        if not self._loaded:
            self._load()
        return iter(sorted(self._parts))

    def _load(self) -> None:
        """Imports the folder; other threads wait until all parts are there."""
        with self._lock:
            if self._loading:  # asked again by a part that is being imported, or done meanwhile
                return
            self._loading = True
            folder = importlib.import_module(self.package)
            for module in pkgutil.iter_modules(folder.__path__, f"{self.package}."):
                importlib.import_module(module.name)
            self._loaded = True

    def name_of(self, part: object) -> str:
        """The name under which a part (or the class of an instance) is registered."""
        found = [n for n in self if self._parts[n] is part or self._parts[n] is type(part)]
        kind = part if inspect.isclass(part) else type(part)
        return found[0] if found else f"{kind.__module__}:{kind.__qualname__}"

    def _outside(self, name: str) -> T:
        module, _, attribute = name.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"{self.kind} {name!r} cannot be imported: {error}") from error
