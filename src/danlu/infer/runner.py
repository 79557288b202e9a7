"""A model at work on one batch: prompts in, then one token a row and step; rows leave when they are done."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..core.errors import unknown
from ..core.spec import Spec
from ..nn.caches import CACHES
from ..nn.layout import Layout, Span
from ..nn.model import Model, Part
from .packed import Prepared

NONE = "none"  # no cache: every step reads all tokens again, the yardstick of the others
PREFILL = 16_384  # tokens of prompts fed at once, padding included


class Runner:
    """Feeds a model; shorter prompts are aligned at their ends, what stands before them is padding (segment 0).

    ``batches`` says how many such batches will come, as far as known.
    Raises: ConfigError if there is no such cache.
    """

    def __init__(self, prepared: Prepared, *, cache: Part = "slab", batches: int = 1) -> None:
        if cache != NONE and Spec.read(cache, "cache").use not in set(CACHES):
            raise unknown("cache", Spec.read(cache).use, [NONE, *CACHES])
        model = prepared.model
        self.prepared, self.model, self.cache_name, self.batches = prepared, model, cache, batches
        self.device = next(model.parameters()).device
        self.dtype = next(model.parameters()).dtype

    @torch.inference_mode()
    def start(self, prompts: Sequence[Sequence[int]], limit: int) -> Tensor:
        """Logits (B, V) after the prompts; at most ``limit`` tokens a row will be generated."""
        prompts = self._read(prompts)
        width = max(map(len, prompts))
        model = self.model
        self.ready = self.prepared.serving(len(prompts), limit * self.batches)
        self.plain = all(len(ids) == width for ids in prompts)
        pads = [width - len(ids) for ids in prompts]
        tokens = torch.tensor([[0] * n + list(ids) for n, ids in zip(pads, prompts, strict=True)], device=self.device)
        before = torch.tensor(pads, device=self.device)[:, None]  # (B, 1)
        column = torch.arange(width, device=self.device)
        self.segment = (column >= before).long()  # (B, T)
        self.position = (column - before).clamp_(min=0)  # (B, T)
        self.order = before.new_tensor([[len(ids) - 1] for ids in prompts]).expand(-1, width) if model.ahead else None
        self.cache = None
        if self.cache_name == NONE:
            self.tokens = tokens
        else:
            room = model.extra + width + limit - 1
            self.cache = model.cache(self.cache_name, len(prompts), room, self.dtype, self.device)
        return self._prefill(tokens, tuple((row, pad, width) for row, pad in enumerate(pads)))

    @torch.inference_mode()
    def step(self, tokens: Tensor) -> Tensor:
        """Logits (B, V) after one more token a row.  tokens: (B,)."""
        tokens, position = tokens[:, None], self.position[:, -1:] + 1
        segment = torch.ones_like(position)
        if self.cache is not None:
            self.position = position
            return self._feed(self.ready, tokens, self._layout(position, segment))
        self.order = self.order if self.order is None else torch.cat([self.order, position], 1)
        self.tokens = torch.cat([self.tokens, tokens], 1)
        self.position = torch.cat([self.position, position], 1)
        self.segment = torch.cat([self.segment, segment], 1)
        return self._feed(self.ready, self.tokens, self._layout(self.position, self.segment, order=self.order))

    @torch.inference_mode()
    def keep(self, rows: list[int]) -> None:
        """Goes on with these rows only."""
        self.position, self.segment = self.position[rows], self.segment[rows]
        self.memory = self.memory and self.memory.select(rows)
        self.order = self.order if self.order is None else self.order[rows]
        if self.cache is not None:
            self.cache.select(rows)
        else:
            self.tokens = self.tokens[rows]

    def _prefill(self, tokens: Tensor, spans: tuple[Span, ...]) -> Tensor:
        """By the model as it is, made for many tokens; in pieces, so that memory does not grow with rows · length."""
        rows, width = tokens.shape
        whole = self.cache is None or self.order is not None or self.model.undivided
        size = width if whole else max(PREFILL // rows, 1)
        logits = tokens.new_empty(0)
        for a in range(0, width, size):
            piece = slice(a, a + size)
            place = self.position[:, piece], self.segment[:, piece]
            layout = self._layout(*place, spans if size >= width else None, order=self.order)
            logits = self._feed(self.model, tokens[:, piece], layout)
        return logits

    def _layout(
        self, position: Tensor, segment: Tensor, spans: tuple[Span, ...] | None = None, order: Tensor | None = None
    ) -> Layout:
        """What is known of rows holds where positions are compared, and not where a prompt is read as a whole."""
        if order is not None:
            return Layout(position, segment, self.cache, order=order)
        return Layout(position, segment, self.cache, spans, self.plain, memory=self.memory)

    def _read(self, prompts: Sequence[Sequence[int]]) -> Sequence[Sequence[int]]:
        """What the decoder goes on with: the prompts, or the beginning of an answer where an encoder reads them."""
        self.memory = None
        begin = self.model.begin
        if begin is None:
            return prompts
        width = max(map(len, prompts))
        rows = [list(ids) + [0] * (width - len(ids)) for ids in prompts]
        tokens = torch.tensor(rows, device=self.device)
        column = torch.arange(width, device=self.device).expand_as(tokens)
        lengths = torch.tensor(list(map(len, prompts)), device=self.device)[:, None]
        self.memory = self.model.read(tokens, Layout.of(column, (column < lengths).long()))
        return [[begin]] * len(prompts)

    def _feed(self, model: Model, tokens: Tensor, layout: Layout) -> Tensor:
        return model.head(model.hidden(tokens, layout)[:, -1]).float()  # (B, V)
