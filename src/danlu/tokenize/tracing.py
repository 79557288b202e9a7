"""What a chat template asks about the contents it writes: which texts it treats alike.

A template is a program that mostly copies contents into place, and sometimes looks at them ("does it contain
</think>?"). Run on probes in place of contents, every look is written down with its answer; what cannot be followed
gives up. Another conversation of the same roles, with the same answers to the same looks, renders as the same text
around its contents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from jinja2 import nodes
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from .sandbox import Budget, Sandbox

FIRST = 0xF0000  # a private plane: no text of ours or of a template holds its characters
LOOKS = ("startswith", "endswith", "isspace", "isdigit", "isalpha", "isalnum", "isupper", "islower", "isascii")
TRIMS = ("strip", "lstrip", "rstrip")
BLIND_FILTERS = (
    "trim",
    "string",
    "length",
    "count",
    "first",
    "last",
    "list",
    "default",
    "d",
    "selectattr",
    "rejectattr",
)
BLIND_TESTS = ("string", "defined", "undefined", "none", "mapping", "iterable", "boolean", "number", "true", "false")
JINJAS_OWN = ("_loop_vars", "_block_vars")  # keywords Jinja itself adds to calls
KEPT = (
    "__new__",
    "__init__",
    "__class__",
    "__getattribute__",
    "__setattr__",
    "__str__",
    "__doc__",
    "__init_subclass__",
)


class Untraceable(Exception):
    """The template did something with a content that cannot be told by looks; the message says what."""


@dataclass(frozen=True)
class Look:
    """One question about the content of a message, and the answer the traced one gave."""

    message: int
    name: str
    arguments: tuple[Any, ...]
    answer: bool

    def holds(self, contents: Sequence[str]) -> bool:
        return _answer(contents[self.message], self.name, self.arguments) == self.answer


@dataclass
class Trace:
    """The text a template writes, each content one private character, and the looks that led there."""

    contents: Sequence[str]
    looks: list[Look] = field(default_factory=list)

    def probes(self, roles: Sequence[str]) -> list[dict[str, Any]]:
        return [{"role": role, "content": Probe(self, n)} for n, role in enumerate(roles)]

    def ask(self, message: int, name: str, arguments: tuple[Any, ...]) -> bool:
        if not all(type(a) is str or (type(a) is tuple and all(type(x) is str for x in a)) for a in arguments):
            raise Untraceable(f"{name} with something that is no plain text")
        look = Look(message, name, arguments, _answer(self.contents[message], name, arguments))
        if look not in self.looks:
            self.looks.append(look)
        return look.answer


def mark(message: int) -> str:
    """The character that stands for a message's content."""
    return chr(FIRST + message)


def _answer(content: str, name: str, arguments: tuple[Any, ...]) -> bool:
    if name in TRIMS:
        return getattr(content, name)(*arguments) == content
    if name in LOOKS:
        return getattr(content, name)(*arguments)
    answers: dict[str, Callable[..., bool]] = {
        "in": content.__contains__,
        "is": content.__eq__,
        "bool": lambda: bool(content),
    }
    return answers[name](*arguments)


def _refusing(name: str) -> Callable[..., Any]:
    def refused(*_: Any, **__: Any) -> Any:
        raise Untraceable(name)

    return refused


def _closed(kind: type[str]) -> type[str]:
    """Every way to look into a text that the class does not answer itself gives up."""
    for name in dir(str):
        if name not in KEPT and name not in vars(kind):
            setattr(kind, name, _refusing(name))
    return kind


class Mixed(str):
    """A content joined with other text: it may be joined further and written, nothing else."""

    def __add__(self, other: str) -> Mixed:
        return joined(self, other)

    def __radd__(self, other: str) -> Mixed:
        return joined(other, self)


class Probe(Mixed):
    """Stands for the content of one message; as text it is that message's mark."""

    def __new__(cls, trace: Trace, message: int) -> Probe:
        return super().__new__(cls, mark(message))

    def __init__(self, trace: Trace, message: int) -> None:
        self.trace, self.message = trace, message

    def __bool__(self) -> bool:
        return self.trace.ask(self.message, "bool", ())

    def __contains__(self, part: Any) -> bool:
        return self.trace.ask(self.message, "in", (part,))

    def __eq__(self, other: object) -> bool:
        return other is self or (isinstance(other, str) and self.trace.ask(self.message, "is", (other,)))

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = _refusing("__hash__")  # type: ignore[assignment]


def _looking(name: str) -> Callable[..., bool]:
    return lambda self, *arguments: self.trace.ask(self.message, name, arguments)


def _trimming(name: str) -> Callable[..., Probe]:
    def trimmed(self: Probe, *arguments: Any) -> Probe:
        if not self.trace.ask(self.message, name, tuple(a for a in arguments if a is not None)):
            raise Untraceable(f"{name} changes it")
        return self

    return trimmed


for _name in LOOKS:
    setattr(Probe, _name, _looking(_name))
for _name in TRIMS:
    setattr(Probe, _name, _trimming(_name))
_closed(Mixed)
_closed(Probe)


def joined(*parts: Any) -> Mixed:
    return Mixed("".join(map(str.__str__, parts)))


def tainted(value: Any) -> bool:
    """Whether a value holds a content anywhere."""
    if isinstance(value, Mapping):
        return any(map(tainted, value.values()))
    return any(map(tainted, value)) if isinstance(value, (list, tuple)) else isinstance(value, Mixed)


class TracingSandbox(Sandbox):
    """The sandbox with its ways around a probe closed: calls, filters, tests and operators that do not ask it."""

    def __init__(self) -> None:
        super().__init__()
        self.tests = {name: self._careful("test", name, part, BLIND_TESTS) for name, part in self.tests.items()}

    def run(self, template: Any, variables: Mapping[str, Any]) -> str:
        self._now.budget = Budget()
        return template.render(variables)

    def kept(self, value: Any) -> Any:
        return value

    def joined(self, *parts: Any) -> str:
        return joined(*parts) if any(map(tainted, parts)) else super().joined(*parts)

    def contained(self, value: Any, container: Any, wanted: bool) -> bool:
        """``value in container``; a text that holds a content as a part of other text cannot be asked."""
        if tainted(value) and isinstance(container, (str, Mapping)):
            raise Untraceable("in")
        return (value in container) == wanted

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        owner = getattr(obj, "__self__", None)
        own = owner is self or isinstance(owner, Mixed)
        if isinstance(obj, Macro) or getattr(obj, "__name__", "") == "_strftime":
            raise Untraceable(f"a call of {obj!r}")
        given = [*args, *(value for name, value in kwargs.items() if name not in JINJAS_OWN)]
        if not own and tainted(given) and obj is not self.globals["namespace"]:
            raise Untraceable(f"a call of {obj!r}")
        return ImmutableSandboxedEnvironment.call(self, context, obj, *args, **kwargs)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator != "+" and (tainted(left) or tainted(right)):
            raise Untraceable(operator)
        return ImmutableSandboxedEnvironment.call_binop(self, context, operator, left, right)

    def _guarded(self, name: str, part: Callable[..., Any]) -> Callable[..., Any]:
        if name in ("random", "shuffle"):
            return _refusing(name)
        return self._careful("filter", name, part, BLIND_FILTERS)

    def _careful(self, kind: str, name: str, part: Callable[..., Any], blind: Sequence[str]) -> Callable[..., Any]:
        if name in blind:
            return part

        @wraps(part)
        def careful(*args: Any, **kwargs: Any) -> Any:
            if tainted(args) or tainted(kwargs):
                raise Untraceable(f"{kind} {name}")
            return part(*args, **kwargs)

        return careful

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        if next(tree.find_all((nodes.AssignBlock, nodes.FilterBlock)), None) is not None:
            raise Untraceable("a block that is kept as text")
        return _Asking().visit(tree)


class _Asking(NodeTransformer):
    """``a in b`` asks the sandbox, since a text on the right would not ask a probe on the left."""

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        if not any(operand.op in ("in", "notin") for operand in node.ops):
            return node
        if len(node.ops) > 1:
            raise Untraceable("a chain of comparisons")
        (operand,) = node.ops
        wanted = nodes.Const(operand.op == "in")
        call = nodes.Call(nodes.EnvironmentAttribute("contained"), [node.expr, operand.expr, wanted], [], None, None)
        call.set_lineno(node.lineno)
        return call
