"""Prompt tuning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..core.errors import ConfigError, unknown
from ..core.spec import Spec
from ..nn.model import Model
from . import ADAPTERS, Adapter
from .virtual import Before, Vectors, check, enter, reader


class Table(Vectors):
    """Vectors learned as they are.  table: (n, E)."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(table)

    def make(self) -> Tensor:
        return self.table


def _random(words: Tensor, length: int) -> Tensor:
    """Normal numbers as large as those of the words' vectors.  (V, E) → (n, E)."""
    return torch.randn(length, words.shape[1], dtype=words.dtype, device=words.device) * words.std()


def _sampled(words: Tensor, length: int) -> Tensor:
    return words[torch.randint(len(words), (length,)).to(words.device)].clone()


STARTS: dict[str, Callable[[Tensor, int], Tensor]] = {"random": _random, "vocabulary": _sampled}


@ADAPTERS.add("prompt")
class Prompt(Adapter):
    """Learns the vectors of virtual tokens that stand before each row, and nothing else.

    x ← [P; x],  P: (n, E);  tokens begin at position n. At the ``start`` P is random, as large as the words' vectors,
    or words drawn from the vocabulary; or it is that of the ``text`` or its ``ids``, repeated or cut to n tokens.
    All documents of a packed row share P, each as if it stood alone; encoders put it before each document.

    Trains n · E numbers.
    Raises: ConfigError for length below 1, an unknown start, a text without a tokenizer or ids that the vocabulary does
    not have; ShapeError if the context is too small.
    Source: Lester et al. 2021, arXiv:2104.08691, §2 and §2.1 (initialization).
    Truth:  tests/truth/test_peft_prompt.py (the model on concatenated vectors; three starts).
    """

    exact_start = False

    def __init__(
        self, *, length: int = 20, start: str = "random", text: str | None = None, ids: Sequence[int] | None = None
    ) -> None:
        check(length, "adapter prompt")
        if start not in STARTS:
            raise unknown("start", start, list(STARTS), where="adapter prompt")
        if (text is not None and ids is not None) or (ids is not None and not len(ids)):
            raise ConfigError("adapter prompt: begin from a text or from its ids, at least one; found both or none")
        self.length, self.start, self.text, self.ids = length, start, text, ids

    def spelled(self, encode: Callable[[str], Sequence[int]]) -> None:
        if self.text is not None:
            self.ids = list(encode(self.text))
            if not self.ids:
                raise ConfigError(f"adapter prompt: the text {self.text!r} has no tokens; write some, or leave it out")

    def settled(self, spec: Spec) -> Spec:
        if self.ids is None:
            return spec
        rest = {key: value for key, value in spec.settings.items() if key != "text"}
        return replace(spec, settings={**rest, "ids": list(self.ids)})

    def place(self, model: Model, name: str) -> None:
        stack = reader(model, "adapter prompt")
        words = stack.embed.weight.detach()
        before = Before(Table(self._begun(words)), self.length, foresees=stack.foresees)
        enter(model, stack, name, before)

    def _begun(self, words: Tensor) -> Tensor:
        """(V, E) → (n, E)."""
        if self.ids is not None:
            if wrong := [i for i in self.ids if not 0 <= i < len(words)]:
                raise ConfigError(f"adapter prompt: ids has {wrong[0]}, the model's are 0 … {len(words) - 1}")
            times = -(-self.length // len(self.ids))
            return words[torch.tensor(list(self.ids) * times, device=words.device)[: self.length]].clone()
        if self.text is not None:
            raise ConfigError("adapter prompt: text needs a tokenizer; attach it with encode, or give the ids")
        return STARTS[self.start](words, self.length)
