"""danlu (丹炉): a language model's whole life in one readable codebase.

``danlu.load``, ``save``, ``load_tokenizer``, ``generate``, ``plan`` and ``train`` are found in their rooms when first
asked for: importing the package costs nothing.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "generate", "load", "load_tokenizer", "plan", "save", "train"]  # pyright: ignore[reportUnsupportedDunderAll]

_HOMES = {"load": "assembly", "save": "assembly", "load_tokenizer": "tokenize", "generate": "infer"}
_NAMESAKES = {"plan": ("train.forecast", "plan"), "train": ("train", "train")}


class _Room(ModuleType):
    """A room that carries the name of its main function, and is called like it: ``danlu.train(recipe)``."""

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        home, function = _NAMESAKES[self.__name__.rpartition(".")[2]]
        return getattr(importlib.import_module(f".{home}", __name__), function)(*arguments, **settings)


class _House(ModuleType):
    """This package: rooms arrive as its attributes whenever somebody imports them."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _NAMESAKES and isinstance(value, ModuleType):
            value.__class__ = _Room
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _House


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    if name in _NAMESAKES:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
