"""From prompts to completions: batches of rows that leave when they are done, their text shown as it is decided."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..core.errors import DanluError
from ..core.ports import Completion
from ..core.rng import generator
from ..nn.model import Model
from ..peft.attached import acting_as
from ..tokenize import Decoder as TextDecoder
from ..tokenize import Tokenizer
from .decoders import Decoder
from .packed import Prepared
from .runner import Runner
from .sampling import Sampling
from .stops import Tail

ROWS = 64  # decoded side by side at most; more prompts wait for the next wave
CACHE = 1 << 30  # bytes of keys and values a wave may hold (one row always goes)

Prompt = str | Sequence[int]


@dataclass
class Row:
    """One prompt on its way: what was chosen, what is shown, why it ended."""

    index: int
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


class Generation:
    """Iterating it generates: (index of the prompt, text that can be shown), with ``completions`` filled at the end.

    Everything is checked when it is made. Prompts of like length go together, as many at a time as ROWS and CACHE
    allow; a row that ends leaves its batch at once.

    A ``Prepared`` model is laid out for decoding once for all generations that share it.
    Raises: DanluError naming the first prompt that is empty, too long or holds a token the model does not know;
    ConfigError for an encoder, which cannot go on with a text.
    """

    def __init__(
        self,
        model: Model | Prepared,
        tokenizer: Tokenizer,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        *,
        cache: str = "slab",
    ) -> None:
        prepared = model if isinstance(model, Prepared) else Prepared(model)
        model = prepared.model
        model.expect_next()
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
        waiting = sorted(self.rows, key=lambda row: len(row.prompt), reverse=True)
        decoder = self.sampling.decoder(self.stops)
        while waiting:
            size = self._fitting(waiting[0])
            yield from self._wave(waiting[:size], decoder)
            del waiting[:size]

    def _fitting(self, longest: Row) -> int:
        """How many rows like this one are decoded side by side."""
        dims, bytes_a_number = self.runner.model.dims, self.runner.dtype.itemsize
        tokens = len(longest.prompt) + longest.limit  # of a memory too: cross-attention keeps keys of all it looks at
        row = 2 * dims.layers * dims.kv_heads * dims.head * bytes_a_number * tokens
        return max(1, min(ROWS, CACHE // row))

    def _wave(self, rows: list[Row], decoder: Decoder) -> Iterator[tuple[int, str]]:
        logits = self.runner.start([row.prompt for row in rows], max(row.limit for row in rows))
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


def _row(model: Model, tokenizer: Tokenizer, sampling: Sampling, index: int, prompt: Prompt) -> Row:
    whole = model.begin is not None  # an encoder reads the prompt; the answer has the decoder's context for itself
    ids = encode_prompt(tokenizer, prompt, whole=whole) if isinstance(prompt, str) else list(prompt)
    vocab, context = model.source.vocab, model.reach(model.source.context)
    if not ids:
        raise DanluError(f"prompt {index} is empty; give it a character or a token to go on from")
    if (wrong := next((i for i in ids if not isinstance(i, int) or not 0 <= i < vocab), None)) is not None:
        raise DanluError(
            f"prompt {index}: token id {wrong!r} is out of range, the model's ids are 0 … {vocab - 1};"
            " use the tokenizer that belongs to the model"
        )
    if len(ids) > context - (not whole):
        room = f"the encoder's context is {context}" if whole else f"the model's context is {context} and must hold a"
        raise DanluError(
            f"prompt {index} has {len(ids)} tokens, {room}{'' if whole else ' new one too'}; shorten the prompt"
        )
    limit = min(sampling.max_tokens, model.dims.context if whole else context - len(ids))
    return Row(index, ids, limit, generator(0), tokenizer.decoder(), Tail(sampling.strings))


def encode_prompt(tokenizer: Tokenizer, text: str, *, whole: bool = False) -> list[int]:
    """The ids of a text as a training document begins: with BOS, if the tokenizer has one that is not also its end.

    A ``whole`` text, which an encoder reads, ends with EOS as well: T5 and its kind were trained so.
    """
    ids = tokenizer.encode(text)
    begins = ids and tokenizer.bos is not None and tokenizer.bos != tokenizer.eos
    ids = [tokenizer.bos, *ids] if begins and tokenizer.bos is not None else ids
    return [*ids, tokenizer.eos] if whole and ids and tokenizer.eos is not None else ids


def generate(
    model: Model, tokenizer: Tokenizer, prompts: Sequence[Prompt], *,
    max_tokens: int = 64, temperature: float = 0.0, top_k: int = 0, top_p: float = 1.0, seed: int | Sequence[int] = 0,
    stop: str | Sequence[str] = (), stop_ids: Sequence[int] | None = None, cache: str = "slab",
    adapter: str | Sequence[str] | None = None, stream: Callable[[int, str], None] | None = None,
) -> list[Completion]:  # fmt: skip
    """One completion a prompt (text or token ids), in order; ``stream`` is called with (index, text) as it is decided.

    ``adapter`` names the one that acts for this call (several, or with [] none), of those that are attached.

    A completion's tokens include the stop token it ended at; its text ends before the stop string or token.
    finish_reason is "stop", or "length" where max_tokens or the model's context ended it.
    See ``Sampling`` for the settings.  Raises: DanluError for any prompt or setting that cannot be served.
    """
    sampling = Sampling(
        max_tokens=max_tokens, temperature=temperature, top_k=top_k, top_p=top_p,
        seed=seed if isinstance(seed, int) else tuple(seed),
        stop=stop if isinstance(stop, str) else tuple(stop),
        stop_ids=None if stop_ids is None else tuple(stop_ids),
    )  # fmt: skip
    names = (adapter,) if isinstance(adapter, str) else adapter
    with nullcontext() if names is None else acting_as(model, *names):
        generation = Generation(model, tokenizer, prompts, sampling, cache=cache)
        for index, text in generation:
            if stream is not None:
                stream(index, text)
    return generation.completions


def stream(model: Model, tokenizer: Tokenizer, prompt: Prompt, sampling: Sampling | None = None) -> Iterator[str]:
    """The completion of one prompt piece by piece; never half a character nor part of a stop string."""
    generation = Generation(model, tokenizer, [prompt], sampling or Sampling())
    return (text for _, text in generation)
