"""How many parameters a family has, as a line that people read and the tests evaluate."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

from ...core.spec import Spec
from ..recipe import Architecture

LETTERS = {
    "V": "vocab", "M": "model", "L": "layers", "H": "heads", "K": "kv_heads", "D": "head", "F": "ffn", "C": "context",
}  # fmt: skip
"""What a single letter of a formula stands for: a size of ``recipe.dims``."""
SIGNS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Pow: operator.pow,
}  # fmt: skip


def counted(formula: str, recipe: Architecture) -> int:
    """The value of a formula such as ``(2 - tied)·V·M + L·(12·M² + 13·M)`` for one recipe.

    Other words than LETTERS are settings of the recipe, or of one of its parts (``ffn.experts``); true counts as 1.
    """
    return _value(ast.parse(formula.replace("·", "*").replace("²", "**2"), mode="eval").body, recipe)


def _value(node: ast.expr, recipe: Architecture) -> Any:
    match node:
        case ast.BinOp(left=left, op=op, right=right):
            return SIGNS[type(op)](_value(left, recipe), _value(right, recipe))
        case ast.Attribute(value=owner, attr=name):
            part = _value(owner, recipe)
            return part.settings[name] if isinstance(part, Spec) else getattr(part, name)
        case ast.Name(id=name):
            return getattr(recipe.dims, LETTERS[name]) if name in LETTERS else getattr(recipe, name)
        case ast.Constant(value=int(number)):
            return number
    raise ValueError(f"a formula of parameters has numbers, names, + - · and ², not {ast.dump(node)}")
