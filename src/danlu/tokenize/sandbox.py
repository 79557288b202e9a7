"""Where a chat template runs: Jinja's immutable sandbox as transformers sets it up, with a limit on time and size.

A template comes with a downloaded model and is a program. It can read nothing but its variables, and whatever it does
ends within the limits: loops, macros and calls count their steps and look at the clock, and what would build something
large is refused before it is built.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import wraps
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from .amplifiers import check_call, check_filter, check_format, check_operator

SECONDS = 0.5  # processor time of one rendering
UNITS = 40_000_000  # characters that one rendering may make in all, beside some times what it is given
ENTRY = 100  # characters that an entry of a list counts for
LOOK_EVERY = 64  # steps between two looks at the clock


class Budget:
    """What one rendering has left."""

    def __init__(self, given: int = 0) -> None:
        self.units, self.steps, self.until = UNITS + 16 * given, 0, time.thread_time() + SECONDS

    def step(self, units: int = 0) -> None:
        self.units -= units
        if self.units < 0:
            raise SecurityError("it makes too many characters or list entries")
        self.steps += 1
        if (units > UNITS // 100 or self.steps % LOOK_EVERY == 0) and time.thread_time() > self.until:
            raise SecurityError(f"it runs for more than {SECONDS} seconds")


class Generation(Extension):
    """``{% generation %}`` … ``{% endgeneration %}`` marks answers for some trainers: its content, unchanged."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of one template; safe to render from several threads."""

    intercepted_binops = frozenset({"*", "**", "+", "%"})

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
        self._now = threading.local()
        self.finalize = self._shown
        self.filters = {name: self._guarded(name, part) for name, part in {**self.filters, "tojson": _tojson}.items()}
        self.globals |= {"raise_exception": _refuse, "strftime_now": _strftime, "namespace": _Namespace}
        self.globals.pop("lipsum", None)

    def run(self, template: Any, variables: Mapping[str, Any]) -> str:
        """The rendered text; raises jinja2.TemplateError, or SecurityError where a limit is met."""
        self._now.budget = Budget(_size(dict(variables), 1 << 40))
        return template.render(variables)

    # ── what the compiled template calls ─────────────────────────────────────────────────────────────────────────
    def step(self, units: int = 0) -> str:
        self.budget.step(units)
        return ""

    def kept(self, value: Any) -> Any:
        """Charges what was just made, at its whole depth; a generator is charged as it is used."""
        budget = self.budget
        budget.step(len(value) if type(value) is str else _size(value, budget.units))
        return value

    def joined(self, *parts: Any) -> str:
        texts = [str(self.kept(part)) for part in parts]
        self.budget.step(sum(map(len, texts)))
        return "".join(texts)

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        check_call(obj, args, kwargs)
        self.budget.step()
        return self.kept(super().call(context, obj, *args, **kwargs))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        formatted = super().wrap_str_format(value)
        if formatted is None:
            return None

        def checked(*args: Any, **kwargs: Any) -> str:
            check_format(value.__self__, [*args, *kwargs.values()])
            return formatted(*args, **kwargs)

        return checked

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        check_operator(operator, left, right)
        return self.kept(super().call_binop(context, operator, left, right))

    @property
    def budget(self) -> Budget:
        return self._now.__dict__.get("budget") or self._folding

    @property
    def _folding(self) -> Budget:
        """Constants are folded while a template is compiled, before any rendering."""
        self._now.budget = Budget()
        return self._now.budget

    # ── how it is set up ─────────────────────────────────────────────────────────────────────────────────────────
    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        return _Counted().visit(super()._parse(source, name, filename))

    def _shown(self, value: Any) -> Any:
        return self.kept(value)

    def _guarded(self, name: str, part: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(part)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            check_filter(name, args, kwargs)
            return self.kept(part(*args, **kwargs))

        return guarded


class _Counted(NodeTransformer):
    """Puts a step at the head of every loop and macro, and charges every list, mapping and joined text made."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        return self._counting(node)

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:
        return self._counting(node)

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:
        return self._counting(node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return self._call("joined", node.nodes, node.lineno)

    def visit_List(self, node: nodes.List) -> nodes.Node:
        return self._made(node)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:
        return self._made(node)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        return self._made(node) if node.ctx == "load" else node

    def _made(self, node: nodes.Expr) -> nodes.Node:
        self.generic_visit(node)
        return self._call("kept", [node], node.lineno)

    def _counting(self, node: nodes.For | nodes.Macro | nodes.CallBlock) -> nodes.Node:
        constant = sum(len(data.data) for part in node.body for data in part.find_all(nodes.TemplateData))
        self.generic_visit(node)
        step = self._call("step", [nodes.Const(constant)], node.lineno)
        node.body.insert(0, nodes.ExprStmt(step).set_lineno(node.lineno))
        return node

    def _call(self, method: str, arguments: list[nodes.Expr], line: int) -> nodes.Call:
        call = nodes.Call(nodes.EnvironmentAttribute(method), arguments, [], None, None)
        call.set_lineno(line)
        return call


class _Namespace(Namespace):
    """A namespace whose attributes are no underscored names, so nothing internal is reached through it."""

    def __init__(self, /, *args: Any, **kwargs: Any) -> None:
        first: dict[str, Any] = dict(*args, **kwargs)
        if wrong := [name for name in first if str(name).startswith("_")]:
            raise SecurityError(f"namespace attribute {wrong[0]!r} begins with an underscore")
        super().__init__(first)

    def __setitem__(self, name: str, value: Any) -> None:
        if str(name).startswith("_"):
            raise SecurityError(f"namespace attribute {name!r} begins with an underscore")
        super().__setitem__(name, value)


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: str) -> None:
    raise TemplateError(message)


def _strftime(form: str) -> str:
    return datetime.now().strftime(form)


def _size(value: Any, limit: int) -> int:
    """Characters and entries of a value at its whole depth, as far as ``limit``."""
    if isinstance(value, (str, bytes)):
        return len(value)
    if isinstance(value, dict):
        inner = [*value.keys(), *value.values()]
    elif isinstance(value, (list, tuple, set)):
        inner = value
    else:
        return 1
    total = ENTRY * len(inner)
    for item in inner:
        if total > limit:
            break
        total += len(item) if isinstance(item, str) else _size(item, limit - total)
    return total
