"""P-tuning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..core.errors import ConfigError, unknown
from ..core.spec import Spec
from ..nn.model import Model
from ..nn.sites import Entrance
from . import ADAPTERS, Adapter
from .virtual import Before, Instead, Vectors, check, enter, reader


class Encoded(Vectors):
    """A network's answer to learned vectors h: (n, E) normal."""

    def __init__(self, length: int, size: int) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(length, size))


class Mlp(Encoded):
    """W_3 relu(W_2 relu(W_1 h)), with biases.  W_1: (width, E), W_2: (width, width), W_3: (E, width)."""

    def __init__(self, length: int, size: int, width: int) -> None:
        super().__init__(length, size)
        bend = nn.ReLU()
        self.net = nn.Sequential(nn.Linear(size, width), bend, nn.Linear(width, width), bend, nn.Linear(width, size))

    def make(self) -> Tensor:
        return self.net(self.tokens)


class Lstm(Encoded):
    """W_2 relu(W_1 lstm(h)), with biases: two layers, both directions.  W_1: (2 width, 2 width), W_2: (E, 2 width)."""

    def __init__(self, length: int, size: int, width: int) -> None:
        super().__init__(length, size)
        self.lstm = nn.LSTM(size, width, num_layers=2, bidirectional=True, batch_first=True)
        self.net = nn.Sequential(nn.Linear(2 * width, 2 * width), nn.ReLU(), nn.Linear(2 * width, size))

    def make(self) -> Tensor:
        kind = self.tokens.device.type if torch.amp.is_autocast_available(self.tokens.device.type) else "cpu"
        with torch.autocast(kind, enabled=False):  # hosts have no LSTM that rounds fp32 weights
            return self.net(self.lstm(self.tokens[None])[0][0])


ENCODERS: dict[str, Callable[[int, int, int], Encoded]] = {"lstm": Lstm, "mlp": Mlp}


@ADAPTERS.add("ptuning")
class PTuning(Adapter):
    """Learns virtual tokens through a network that ties them to each other, before each row or anywhere in it.

    P = net(h),  h: (n, E);  ``encoder`` is lstm, whose two layers read h in both directions before two linear maps with
    a relu between, or mlp, three linear maps with relus between; ``width`` is that of hidden layers, E unless given.
    At rest P is computed once and kept. x ← [P; x], tokens begin at position n; or, with a ``placeholder`` (a token or
    its id), the k-th of them in each document is read as P_k, and nothing is longer.

    Trains n · E numbers and the network's.
    Raises: ConfigError for length or width below 1, an unknown encoder, or a placeholder that is not one token;
    ShapeError if the context is too small.
    Source: Liu et al. 2021, arXiv:2103.10385, §3.1 and §3.2 (eq. 3 and 4).
    Truth:  tests/truth/test_peft_prompt.py (torch's modules by hand; placeholders by concatenation).
    """

    exact_start = False

    def __init__(
        self, *, length: int = 20, encoder: str = "lstm", width: int | None = None, placeholder: str | int | None = None
    ) -> None:
        check(length, "adapter ptuning")
        if encoder not in ENCODERS:
            raise unknown("encoder", encoder, list(ENCODERS), where="adapter ptuning")
        if width is not None and width < 1:
            raise ConfigError(f"adapter ptuning: width is that of the encoder, at least 1, found {width}")
        self.length, self.encoder, self.width, self.placeholder = length, encoder, width, placeholder

    def spelled(self, encode: Callable[[str], Sequence[int]]) -> None:
        if isinstance(self.placeholder, str):
            ids = encode(self.placeholder)
            if len(ids) != 1:
                raise ConfigError(
                    f"adapter ptuning: placeholder is one token, and the tokenizer makes {len(ids)} of "
                    f"{self.placeholder!r}; add it with `danlu tokenizer extend`, or give the id of another"
                )
            self.placeholder = ids[0]

    def settled(self, spec: Spec) -> Spec:
        return replace(spec, settings={**spec.settings, "placeholder": self.placeholder}) if self.placeholder else spec

    def place(self, model: Model, name: str) -> None:
        stack = reader(model, "adapter ptuning")
        size = stack.embed.weight.shape[1]
        vectors = ENCODERS[self.encoder](self.length, size, self.width or size)
        enter(model, stack, name, self._entrance(vectors, stack))

    def _entrance(self, vectors: Vectors, stack: Model) -> Entrance:
        if self.placeholder is None:
            return Before(vectors, self.length, foresees=stack.foresees)
        words = stack.embed.weight
        if isinstance(self.placeholder, str):
            raise ConfigError("adapter ptuning: a placeholder's text needs a tokenizer; attach it with encode")
        if not 0 <= self.placeholder < len(words):
            raise ConfigError(
                f"adapter ptuning: placeholder is {self.placeholder}, the model's ids are 0 … {len(words) - 1}"
            )
        return Instead(vectors, self.length, self.placeholder)
