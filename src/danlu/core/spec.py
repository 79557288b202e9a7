"""A part not built yet: which one, and its settings. Specs are what YAML holds and checkpoints keep."""

from __future__ import annotations

import inspect
import types
import typing
from dataclasses import dataclass, field
from typing import Any

from .errors import ConfigError, unknown
from .registry import Registry


@dataclass(frozen=True)
class Spec:
    """``Spec("rope", {"base": 5e5}).build(POSITIONS, dims)`` is ``POSITIONS["rope"](dims, base=5e5)``.

    A setting may itself name a part, ``{"use": "yarn", "factor": 8}``: the annotation of the parameter says of which
    kind. Parts take their shapes positionally and their settings by keyword only.
    """

    use: str
    settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, raw: str | dict[str, Any] | Spec, where: str = "") -> Spec:
        """From ``"rope"`` or ``{"use": "rope", "base": 5e5}``."""
        if isinstance(raw, Spec):
            return raw
        if isinstance(raw, str):
            return cls(raw)
        if not isinstance(raw, dict) or not isinstance(raw.get("use"), str):
            raise ConfigError(f"{where or 'a part'}: write a name or {{use: name, setting: value}}, not {raw!r}")
        return cls(raw["use"], {key: value for key, value in raw.items() if key != "use"})

    def write(self) -> dict[str, Any]:
        return {"use": self.use, **{k: v.write() if isinstance(v, Spec) else v for k, v in self.settings.items()}}

    def build(self, registry: Registry[Any], *shapes: Any, where: str = "") -> Any:
        """Builds the part; raises ConfigError with place, setting and the known ones before anything is made."""
        where = where or registry.kind
        part = self._part(registry, where)
        parameters = settings_of(part)
        self._check(parameters, registry, where)
        hints = typing.get_type_hints(part.__init__ if inspect.isclass(part) else part)
        nested = {
            name: Spec.read(value, f"{where}.{name}").build(kind, where=f"{where}.{name}")
            for name, value in self.settings.items()
            if isinstance(value, (str, dict, Spec)) and (kind := _registry_of(hints.get(name))) is not None
        }
        plain = {n: _number(hints.get(n), v, f"{where}.{n}") for n, v in self.settings.items() if n not in nested}
        return part(*shapes, **plain, **nested)

    def _part(self, registry: Registry[Any], where: str) -> Any:
        if ":" not in self.use and self.use not in set(registry):
            raise unknown(registry.kind, self.use, list(registry), where=where if where != registry.kind else "")
        return registry[self.use]

    def _check(self, parameters: dict[str, inspect.Parameter], registry: Registry[Any], where: str) -> None:
        if extra := sorted(set(self.settings) - set(parameters)):
            has = f"it has {sorted(parameters)}" if parameters else "it has no settings"
            raise ConfigError(f"{where}: {registry.kind} {self.use!r} has no setting {extra}; {has}")
        needed = {n for n, p in parameters.items() if p.default is inspect.Parameter.empty}
        if missing := sorted(needed - set(self.settings)):
            raise ConfigError(f"{where}: {registry.kind} {self.use!r} needs the setting {missing}")


def settings_of(part: Any) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters of a part: what a recipe may set."""
    return {n: p for n, p in inspect.signature(part).parameters.items() if p.kind is p.KEYWORD_ONLY}


def _number(hint: Any, value: Any, where: str) -> Any:
    """YAML reads 1e-4 as text: where a number is asked for, it is one."""
    kinds = typing.get_args(hint) or (hint,)
    if not isinstance(value, str) or float not in kinds or str in kinds:
        return value
    try:
        return float(value)
    except ValueError:
        raise ConfigError(f"{where}: expected a number, found {value!r}") from None


def _registry_of(hint: Any) -> Registry[Any] | None:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return next((Registry.by_base[o] for o in options if isinstance(o, type) and o in Registry.by_base), None)
