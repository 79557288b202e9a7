"""From prompts to completions: text is shown as it is decided."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace

from ..core.errors import DanluError
from ..core.ports import Completion
from ..nn.model import Model, Part
from ..peft.attached import acting_as
from ..tokenize import Tokenizer
from .engine import Engine
from .forward import goes_with_others
from .packed import Prepared
from .request import Request
from .sampling import Sampling
from .settings import EngineSettings
from .waves import Waves

ROWS = 64  # decoded side by side at most; more prompts wait

Prompt = str | Sequence[int]


class Generation:
    """Iterating it generates: (index of the answer, text that can be shown), with ``completions`` filled at the end.

    Everything is checked when it is made. ``n`` answers a prompt stand beside each other. A ``Prepared`` model is laid
    out for decoding once for all generations that share it. ``cache`` names one of ``nn.caches``, or "none", to serve
    without the engine.
    Raises: DanluError naming the first prompt that is empty, too long or holds a token the model does not know;
    ConfigError for an encoder, which cannot go on with a text.
    """

    def __init__(
        self, model: Model | Prepared, tokenizer: Tokenizer, prompts: Sequence[Prompt], sampling: Sampling, *,
        cache: Part | None = None,
    ) -> None:  # fmt: skip
        prepared = model if isinstance(model, Prepared) else Prepared(model)
        model = prepared.model
        model.expect_next()
        whole = model.begin is not None  # an encoder reads the prompt; the answer has the decoder's context for itself
        ids = [encode_prompt(tokenizer, p, whole=whole) if isinstance(p, str) else list(p) for p in prompts]
        apart = cache is not None or not (goes_with_others(model) or sampling.wants_engine)
        self.source: Waves | Served = (
            Waves(prepared, tokenizer, ids, sampling, cache=cache or "slab")
            if apart
            else Served(prepared, tokenizer, ids, sampling)
        )

    @property
    def completions(self) -> list[Completion]:
        return self.source.completions

    def __iter__(self) -> Iterator[tuple[int, str]]:
        return iter(self.source)


class Served:
    """Prompts through an engine of their own, all of them submitted at once."""

    def __init__(
        self, prepared: Prepared, tokenizer: Tokenizer, prompts: Sequence[Sequence[int]], sampling: Sampling
    ) -> None:
        n = sampling.n
        rows = max(1, min(ROWS, n * len(prompts)))
        self.n = n
        self.engine = Engine(prepared, tokenizer, settings=EngineSettings(rows=max(rows, sampling.rows)))
        seeds = sampling.seeds(n * len(prompts))
        self.indices: dict[int, int] = {}
        for index, ids in enumerate(prompts):
            own = replace(sampling, seed=tuple(seeds[n * index : n * (index + 1)]))
            number = self.engine.submit(Request(prompt=tuple(ids), sampling=own), called=f"prompt {index}")
            self.indices[number] = index
        self.texts = [""] * (n * len(prompts))
        self.tokens: list[list[int]] = [[] for _ in self.texts]
        self.logprobs: list[list[float]] = [[] for _ in self.texts]
        self.finish = [""] * len(self.texts)

    @property
    def completions(self) -> list[Completion]:
        parts = zip(self.texts, map(tuple, self.tokens), map(tuple, self.logprobs), self.finish, strict=True)
        return [Completion(*one) for one in parts]

    def __iter__(self) -> Iterator[tuple[int, str]]:
        while self.engine.busy:
            for event in self.engine.step():
                index = self.n * self.indices[event.number] + event.index
                self.texts[index] += event.text
                self.tokens[index] += [token.id for token in event.tokens]
                self.logprobs[index] += [token.logprob for token in event.tokens]
                self.finish[index] = event.finish or ""
                if event.finish == "error":
                    raise DanluError(str(event.stop))
                if event.text:
                    yield index, event.text


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
    stop: str | Sequence[str] = (), stop_ids: Sequence[int] | None = None, cache: Part | None = None,
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
