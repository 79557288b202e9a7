"""The named places where adapters act on a model, and the switch that says which of them do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, cast

from torch import Tensor, nn

from ..core.errors import ConfigError
from .layout import Keys, Layout
from .linear import Map


class Switch:
    """Which adapters act now: one for a model, asked at every site, so that switching touches nothing else.

    ``adapters`` are all that are attached, by name. Some have their own values of the model's own parameters; ``base``
    keeps the model's while they act. ``spans``, where several texts stand in one row, names the tokens on which each
    adapter acts, in the place of ``active``.
    """

    def __init__(self) -> None:
        self.active: tuple[str, ...] = ()
        self.spans: dict[str, slice] | None = None
        self.adapters: dict[str, Any] = {}
        self.base: dict[str, Tensor] = {}


class Attachment(nn.Module, ABC):
    """What an adapter hangs at a site. Its tensors belong to the adapter: a saved model does not have them."""


class Site(nn.ModuleDict):
    """A place with one attachment a name."""

    def __init__(self) -> None:
        super().__init__()
        self.switches: list[Switch] = []  # the model's, given with the first attachment: listed, not registered

    def hang(self, name: str, attachment: Attachment, switch: Switch) -> None:
        """Adds an attachment, which acts when the switch says so; raises ConfigError if it has one of this name."""
        if name in self:
            raise ConfigError(
                f"two parts of the adapter {name!r} want to act at the same place; give one of them other targets"
            )
        self[name] = attachment
        self.switches = [switch]

    def acting(self) -> list[Any]:
        """The attachments that act, in the order of the switch."""
        if not self.switches:
            return []
        return [self[name] for name in self.switches[0].active if name in self]

    def parted(self) -> list[tuple[slice, Any]]:
        """The attachments that act on a span of tokens each; none unless the switch says so."""
        spans = self.switches[0].spans if self.switches else None
        return [(span, self[name]) for name, span in spans.items() if name in self] if spans else []

    def changed(self, x: Tensor, y: Tensor) -> Tensor:
        """What deltas or branches make of y, which was made of x.  (B, T, …) each."""
        for part in self.acting():
            y = part(x, y)
        for span, part in self.parted():
            y[:, span] = part(x[:, span], y[:, span])
        return y


class Delta(Attachment, ABC):
    """Site "linear": what is read by a linear map and what it answers, changed."""

    def __init__(self, base: Map) -> None:
        super().__init__()
        self.bases = [base]  # listed: the model owns it

    @property
    def base(self) -> Map:
        return self.bases[0]

    def reads(self, x: Tensor) -> Tensor:
        """What the map is given instead of x.  (…, in)"""
        return x

    @abstractmethod
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """What is answered instead of y = base(reads(x)).  x: (…, in), y: (…, out)."""

    @abstractmethod
    def merged(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Weight (out, in) and bias of a map that answers by itself what base and delta answer together."""


class Adapted(Map):
    """A linear map, of any storage, and the deltas that act on it."""

    def __init__(self, origin: Map) -> None:
        super().__init__()
        self.origin, self.deltas = origin, Site()
        self.axes, self.in_features, self.out_features = origin.axes, origin.in_features, origin.out_features

    def forward(self, input: Tensor) -> Tensor:
        given = input
        for delta in cast("list[Delta]", self.deltas.acting()):
            given = delta.reads(given)
        for span, delta in self.deltas.parted():
            part = given[:, span]
            if (read := delta.reads(part)) is not part:
                given = given.clone() if given is input else given
                given[:, span] = read
        return self.deltas.changed(input, self.origin(given))

    def dense(self) -> Tensor:
        return self.origin.dense()

    def put(self, weight: Tensor, bias: Tensor | None) -> None:
        self.origin.put(weight, bias)

    @property
    def bias(self) -> nn.Parameter | None:  # type: ignore[override]
        return self.origin.bias


class Branch(Attachment, ABC):
    """Site "branch": what a sublayer adds to the residual stream, changed."""

    @abstractmethod
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """What is answered instead of y, which the sublayer made of x.  (B, T, M) each."""


class KeySource(Attachment, ABC):
    """Site "kv": keys and values that queries may look at besides those of tokens."""

    @abstractmethod
    def forward(self, keys: Keys, x: Tensor, layout: Layout) -> Keys:
        """All keys that the queries of this call may look at; x: (B, T, M), what the attention reads."""


class Entrance(Attachment, ABC):
    """Site "embed": the vectors of tokens as they enter the model, changed or lengthened.

    ``extra`` is how many vectors it puts before each row: what leaves the model has them no more, and the model keeps
    room for them in its cache. ``shift`` is by how many positions tokens move. One that is ``undivided`` reads a
    row's prompt in one call.
    """

    extra: int = 0
    shift: int = 0
    undivided: bool = False

    @abstractmethod
    def forward(self, tokens: Tensor, x: Tensor, layout: Layout) -> tuple[Tensor, Layout]:
        """tokens: (B, T), x: (B, T, E) → (B, extra + T, E) at the first call of a row, (B, T, E) afterwards."""


def own(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Parameters and kept buffers of a model without its adapters, under the names they have without them."""
    kept = module._non_persistent_buffers_set
    yield from ((prefix + name, p) for name, p in module._parameters.items() if p is not None)
    yield from ((prefix + name, b) for name, b in module._buffers.items() if b is not None and name not in kept)
    for name, child in module.named_children():
        if isinstance(child, Adapted):
            yield from own(child.origin, f"{prefix}{name}.")
        elif not isinstance(child, (Attachment, Site)):
            yield from own(child, f"{prefix}{name}.")


def unadapted(part: nn.Module) -> Any:
    """A linear map without the deltas that act on it; anything else as it is."""
    return part.origin if isinstance(part, Adapted) else part


def bare(module: nn.Module) -> Iterator[nn.Module]:
    """A module and all within it, without adapters: the same ones in the same order whatever is attached."""
    if isinstance(module, Adapted):
        yield from bare(module.origin)
    elif not isinstance(module, (Attachment, Site)):
        yield module
        for child in module.children():
            yield from bare(child)
