"""YAML or JSON ⇄ frozen dataclasses: strict, typed, with dotted overrides; no interpolation, no includes, no code."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from .errors import ConfigError, unknown
from .spec import Spec

T = TypeVar("T")


def load(kind: type[T], path: str | Path, overrides: Sequence[str] = ()) -> T:
    """Reads a YAML file into ``kind``; ``overrides`` are ``a.b=value`` with YAML values, ``list.0.key=value`` too."""
    return read(kind, changed(read_yaml(path), overrides), str(path))


def changed(raw: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The same mapping with ``a.b=value`` done to it, one after the other."""
    for override in overrides:
        _override(raw, override)
    return raw


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping a YAML file holds; raises ConfigError with the line of what is not YAML."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; give the path of a recipe") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder; give the path of a YAML recipe") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}; save the recipe as UTF-8") from None
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}: not valid YAML: {getattr(error, 'problem', None) or error}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: a recipe is a mapping of keys, found {_name(raw)}")
    return raw


def read(kind: type[T], raw: Any, where: str = "") -> T:
    """A dataclass from a mapping; raises ConfigError naming the path of the first key that is unknown or ill-typed."""
    if not isinstance(raw, dict):
        raise ConfigError(f"{where}: expected a mapping of {sorted(_fields(kind))}, found {_name(raw)}")
    fields, hints = _fields(kind), typing.get_type_hints(kind)
    for key in raw:
        if key not in fields:
            raise unknown("key", str(key), list(fields), where=where)
    values = {
        fields[key].name: _value(hints[fields[key].name], value, f"{where}: {key}" if where else key)
        for key, value in raw.items()
    }
    missing = [key for key, f in fields.items() if key not in raw and _required(f)]
    if missing:
        raise ConfigError(f"{where}: the key {missing[0]!r} is missing")
    try:
        return kind(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def write(value: Any) -> Any:
    """Plain dicts, lists and scalars, defaults written out: ``read(type(x), write(x)) == x``."""
    if isinstance(value, Spec):
        return write(value.write())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name.rstrip("_"): write(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: write(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [write(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def dump(value: Any) -> str:
    """The YAML text of a dataclass or plain value."""
    return yaml.safe_dump(write(value), sort_keys=False, allow_unicode=True)


def _fields(kind: type) -> dict[str, dataclasses.Field[Any]]:
    """By the key YAML uses: a field ``from_`` is written ``from``."""
    return {f.name.rstrip("_"): f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _value(hint: Any, raw: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return raw
    if hint is Spec:
        return Spec.read(raw, where)
    if dataclasses.is_dataclass(hint):
        return raw if isinstance(raw, hint) else read(hint, raw, where)  # type: ignore[arg-type]
    if origin in (typing.Union, types.UnionType):
        return _any_of(arguments, raw, where)
    if origin is typing.Literal:
        if raw not in arguments:
            raise unknown("choice", str(raw), [str(a) for a in arguments], where=where)
        return raw
    if origin in (list, tuple):
        return _items(origin, arguments, raw, where)
    if origin is dict:
        if not isinstance(raw, dict):
            raise ConfigError(f"{where}: expected a mapping, found {_name(raw)}")
        return {key: _value(arguments[1], value, f"{where}.{key}") for key, value in raw.items()}
    return _scalar(hint, raw, where)


def _items(origin: type, arguments: tuple[Any, ...], raw: Any, where: str) -> Any:
    if not isinstance(raw, (list, tuple)):
        raise ConfigError(f"{where}: expected a list, found {_name(raw)}")
    fixed = origin is tuple and Ellipsis not in arguments
    if fixed and len(raw) != len(arguments):
        raise ConfigError(f"{where}: expected {len(arguments)} values, found {len(raw)}")
    hints = arguments if fixed else [arguments[0]] * len(raw)
    return origin(_value(h, item, f"{where}.{i}") for i, (h, item) in enumerate(zip(hints, raw, strict=True)))


def _any_of(options: tuple[Any, ...], raw: Any, where: str) -> Any:
    errors = []
    for option in options:
        if option is type(None):
            if raw is None:
                return None
            continue
        try:
            return _value(option, raw, where)
        except ConfigError as error:
            errors.append(error)
    raise errors[-1]


def _scalar(hint: Any, raw: Any, where: str) -> Any:
    if hint is float and isinstance(raw, (int, float, str)) and not isinstance(raw, bool):
        try:
            return float(raw)  # YAML reads 1e-4 as text
        except ValueError:
            pass
    elif hint is int and isinstance(raw, (float, str)) and _whole(raw):
        return int(float(raw))
    elif hint is Path and isinstance(raw, (str, Path)):
        return Path(raw)
    elif isinstance(raw, hint) and not (hint is int and isinstance(raw, bool)):
        return raw
    raise ConfigError(f"{where}: expected {hint.__name__}, found {_name(raw)} {raw!r}")


def _whole(raw: float | str) -> bool:
    try:
        return float(raw).is_integer()
    except (ValueError, OverflowError):
        return False


def _name(value: Any) -> str:
    return "nothing" if value is None else type(value).__name__


def _override(raw: dict[str, Any], text: str) -> None:
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise ConfigError(f"{text!r} is no override; write key=value, for example train.steps=100")
    *parents, leaf = path.split(".")
    place: Any = raw
    for key in parents:
        place = _step(place, key, path, {})
    if isinstance(place, list):
        place[_index(place, leaf, path)] = yaml.safe_load(value)
    else:
        place[leaf] = yaml.safe_load(value)


def _step(place: Any, key: str, path: str, default: Any) -> Any:
    if isinstance(place, list):
        return place[_index(place, key, path)]
    if isinstance(place.get(key), str):
        place[key] = {"use": place[key]}
    if place.get(key) is None:
        place[key] = default
    if not isinstance(place[key], (dict, list)):
        raise ConfigError(f"{path}: {key!r} holds {place[key]!r}, which has no keys to override")
    return place[key]


def _index(place: list[Any], key: str, path: str) -> int:
    if not key.isdecimal() or int(key) >= len(place):
        raise ConfigError(f"{path}: {key!r} is no index of a list of {len(place)}")
    return int(key)
