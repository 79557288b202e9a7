"""Prompts of like length decoded in one rectangle: for models that do not mix texts in a row, and to compare caches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..core.ports import Completion
from ..core.rng import generator
from ..nn.model import Model, Part
from ..tokenize import Decoder as TextDecoder
from ..tokenize import Tokenizer
from .checked import expect_prompt
from .decoders import Decoder
from .packed import Prepared
from .runner import Runner
from .sampling import Sampling
from .stops import Tail

ROWS = 64  # decoded side by side at most; more prompts wait for the next wave
CACHE = 1 << 30  # bytes of keys and values a wave may hold (one row always goes)


@dataclass
class Row:
    """One prompt on its way: what was chosen, what is shown, why it ended.

    ``given`` is what is read, ``prompt`` what the answer follows: the same, but where an encoder reads.
    """

    index: int
    given: list[int]
    prompt: list[int]
    limit: int
    random: torch.Generator
    text: TextDecoder
    tail: Tail
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish: str = ""

    def take(self, token: int, logprob: float, stops: frozenset[int]) -> str:
        """One more token; the text that can now be shown."""
        self.tokens.append(token)
        self.logprobs.append(logprob)
        if token in stops:
            return self._end("stop")
        shown = self.tail.push(self.text.push(token))
        if self.tail.stopped:
            self.finish = "stop"
        elif len(self.tokens) == self.limit:
            shown += self._end("length")
        return shown

    def _end(self, why: str) -> str:
        self.finish = why
        shown = self.tail.push(self.text.flush()) + self.tail.flush()
        self.finish = "stop" if self.tail.stopped else why
        return shown

    def completion(self) -> Completion:
        return Completion(self.tail.text, tuple(self.tokens), tuple(self.logprobs), self.finish)


class Waves:
    """Iterating it generates: (index of the prompt, text that can be shown), with ``completions`` filled at the end.

    Prompts of like length go together, as many at a time as ROWS and CACHE allow; a row that ends leaves its batch at
    once. ``cache`` is one of ``nn.caches``, or "none".
    Raises: DanluError naming the first prompt that is empty, too long or holds a token the model does not know.
    """

    def __init__(
        self,
        prepared: Prepared,
        tokenizer: Tokenizer,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        cache: Part = "slab",
    ) -> None:
        model = prepared.model
        self.runner = Runner(prepared, cache=cache, batches=len(prompts) // ROWS + 1)
        self.sampling = sampling
        self.stops = sampling.stops(tokenizer, model.dims.vocab)
        rows = [_row(model, tokenizer, sampling, *numbered) for numbered in enumerate(prompts)]
        for row, seed in zip(rows, sampling.seeds(len(rows)), strict=True):
            row.random = generator(seed, "sample")
        self.rows = rows

    @property
    def completions(self) -> list[Completion]:
        return [row.completion() for row in self.rows]

    def __iter__(self) -> Iterator[tuple[int, str]]:
        waiting = sorted(self.rows, key=lambda row: len(row.given), reverse=True)
        decoder = self.sampling.decoder(self.stops)
        while waiting:
            size = self._fitting(waiting[0])
            yield from self._wave(waiting[:size], decoder)
            del waiting[:size]

    def _fitting(self, longest: Row) -> int:
        """How many rows like this one are decoded side by side."""
        dims, bytes_a_number = self.runner.model.dims, self.runner.dtype.itemsize
        tokens = len(longest.given) + longest.limit  # of a memory too: cross-attention keeps keys of all it looks at
        row = 2 * dims.layers * dims.kv_heads * dims.head * bytes_a_number * tokens
        return max(1, min(ROWS, CACHE // row))

    def _wave(self, rows: list[Row], decoder: Decoder) -> Iterator[tuple[int, str]]:
        logits = self.runner.start([row.given for row in rows], max(row.limit for row in rows))
        while True:
            tokens, logprobs = _choose(decoder, logits, rows)
            for row, token, logprob in zip(rows, tokens.tolist(), logprobs.tolist(), strict=True):
                if shown := row.take(token, logprob, self.stops):
                    yield row.index, shown
            going = [place for place, row in enumerate(rows) if not row.finish]
            if not going:
                return
            if len(going) < len(rows):
                rows, tokens = [rows[place] for place in going], tokens[going]
                self.runner.keep(going)
            logits = self.runner.step(tokens)


@torch.inference_mode()
def _choose(decoder: Decoder, logits: Tensor, rows: list[Row]) -> tuple[Tensor, Tensor]:
    """The tokens (B,) and their log-probabilities (B,) before any filter.  logits: (B, V)."""
    tokens = decoder.choose(logits, rows)
    chosen = logits.gather(-1, tokens[:, None])[:, 0]
    return tokens, chosen - logits.logsumexp(-1)


def _row(model: Model, tokenizer: Tokenizer, sampling: Sampling, index: int, prompt: Sequence[int]) -> Row:
    longest = model.reach(model.source.context)
    ids = list(prompt)
    expect_prompt(model, ids, longest, called=f"prompt {index}")
    limit = min(sampling.max_tokens, model.dims.context if model.begin is not None else longest - len(ids))
    prompt = ids if model.begin is None else [model.begin]
    return Row(index, ids, prompt, limit, generator(0), tokenizer.decoder(), Tail(sampling.strings))
