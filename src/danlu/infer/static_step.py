"""One token of every row in shapes that never change: what a CUDA graph can record once and play again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..nn.layout import Keys, Layout
from ..nn.model import Model
from ..nn.pages.plain import Plain

GRAPHS = 32  # recorded at once; the longest unused goes first


@dataclass(frozen=True)
class Feed:
    """A row that decodes: its newest token, where it stands, and the blocks of its text."""

    token: int
    position: int
    table: tuple[int, ...]


class Gathered:
    """A cache of ``rows`` rows that reads ``places`` (B, S) of a pool; the newest token of a row lies at ``newest``.

    position, segment: (B, S); segment 0 is beyond the end of a row.
    """

    def __init__(self, pages: Plain, rows: int, keys: int) -> None:
        self.pages = pages
        device = pages.device
        self.places = torch.zeros(rows, keys, dtype=torch.long, device=device)
        self.newest = torch.zeros(rows, dtype=torch.long, device=device)
        self.position = torch.arange(keys, device=device).repeat(rows, 1)
        self.segment = torch.zeros(rows, keys, dtype=torch.long, device=device)

    @property
    def length(self) -> int:
        return self.places.shape[1] - 1

    def append(self, layer: int, new: Keys) -> Keys:
        self.pages.write(layer, self.newest, new.k[:, 0], new.v[:, 0])
        k, v = self.pages.k[layer], self.pages.v[layer]  # (slots, K, D)
        return Keys(k[self.places], v[self.places], self.position, self.segment)


class StaticStep:
    """``rows`` rows of at most ``keys`` tokens; rows that are not used read and write the block ``spare``.

    On a GPU the step is recorded at its first use and replayed afterwards; elsewhere it runs as it is.
    Source: Kwon et al. 2023, arXiv:2309.06180, §4.3 (tables of blocks); CUDA graphs as in torch.cuda.graphs.
    Truth:  tests/truth/test_static_step.py (the same rows through the engine's own pass).
    """

    def __init__(self, model: Model, pages: Plain, spare: int, rows: int, keys: int) -> None:
        self.model, self.spare, self.size = model, spare, pages.size
        self.cache = Gathered(pages, rows, keys)
        self.tokens = torch.zeros(rows, 1, dtype=torch.long, device=pages.device)
        self.position = torch.zeros(rows, 1, dtype=torch.long, device=pages.device)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.logits = torch.empty(0)

    def __call__(self, feeds: Sequence[Feed]) -> Tensor:
        """Logits (feeds, V), float32."""
        self._place(feeds)
        if self.tokens.device.type != "cuda":
            self.logits = self._run()
        elif self.graph is None:
            self._record()
        else:
            self.graph.replay()
        return self.logits[: len(feeds)].clone()

    def _place(self, feeds: Sequence[Feed]) -> None:
        """Fills the tensors that the step reads: all from the host in one copy each."""
        rows, keys = self.cache.places.shape
        idle = [Feed(0, 0, (self.spare,))] * (rows - len(feeds))
        places, segment, newest = [], [], []
        for feed in [*feeds, *idle]:
            own = [block * self.size + at for block in feed.table for at in range(self.size)][: feed.position + 1]
            newest.append(own[-1])
            places.append(own + own[-1:] * (keys - len(own)))  # what is hidden is read all the same: never raw memory
            segment.append([1] * len(own) + [0] * (keys - len(own)))
        every = [*feeds, *idle]
        for tensor, values in (
            (self.tokens, [[feed.token] for feed in every]),
            (self.position, [[feed.position] for feed in every]),
            (self.cache.places, places),
            (self.cache.segment, segment),
            (self.cache.newest, newest),
        ):
            tensor.copy_(torch.tensor(values), non_blocking=True)

    @torch.inference_mode()
    def _run(self) -> Tensor:
        layout = Layout(self.position, torch.ones_like(self.position), self.cache)
        return self.model.head(self.model.hidden(self.tokens, layout)[:, -1]).float()

    def _record(self) -> None:
        """Runs once aside, as recording wants it, then records: the same tensors are read at every replay."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self._run()
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.logits = self._run()
        self.graph.replay()


class StaticSteps:
    """Steps for a few sizes: rows and keys are rounded up to powers of two, so that few graphs serve all."""

    def __init__(self, model: Model, pages: Plain, spare: int) -> None:
        self.model, self.pages, self.spare = model, pages, spare
        self.steps: dict[tuple[int, int], StaticStep] = {}

    def __call__(self, feeds: Sequence[Feed]) -> Tensor:
        longest = max(feed.position for feed in feeds) + 1
        shape = _power(len(feeds)), _power(max(longest, self.pages.size))
        step = self.steps.pop(shape, None) or StaticStep(self.model, self.pages, self.spare, *shape)
        self.steps[shape] = step
        if len(self.steps) > GRAPHS:
            del self.steps[next(iter(self.steps))]
        return step(feeds)


def _power(number: int) -> int:
    return 1 << (number - 1).bit_length()
