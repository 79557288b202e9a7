"""How to go on from a prompt: checked as a whole before any work is done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ..core.errors import ConfigError, unknown
from ..core.spec import Spec
from ..tokenize import Tokenizer
from .contrasts import CONTRASTS
from .decoders import DECODERS, Decoder
from .filters import Filter, chain
from .searches import SEARCHES

COLD = 1e-5  # below this a temperature is greedy: dividing by it would overflow
LEAST = {"n": 1, "min_tokens": 0, "logprobs": 0, "prompt_logprobs": 0}
CONSTRAINTS = ("json_schema", "json_object", "regex", "choice", "grammar")
SAME = (
    "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "repetition_penalty", "presence_penalty",
    "frequency_penalty", "no_repeat_ngram_size", "bad_words",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """All settings of a request but its prompt; docs/decoding.md says what each does and in which order they act.

    temperature 0 (or top_k 1) is greedy; else a token is drawn from what the filters leave. ``seed`` is the row's (a
    list) or the first row's, the next rows taking the next numbers; ``n`` answers are asked for. ``stop`` are strings
    the text ends before; ``stop_ids`` are tokens it ends at (None: the tokenizer's own, unless ``ignore_eos``).
    ``bad_words`` are sequences of token ids. ``logprobs`` and ``prompt_logprobs`` say how many of the likeliest tokens
    are told beside the one that is there (None: nothing is told). ``shown_ids`` are special tokens that stay in the
    text.
    """

    max_tokens: int = 64
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    epsilon_cutoff: float = 0.0
    eta_cutoff: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    no_repeat_ngram_size: int = 0
    logit_bias: dict[int, float] = field(default_factory=dict, hash=False)
    bad_words: tuple[tuple[int, ...], ...] = ()
    min_tokens: int = 0
    seed: int | tuple[int, ...] = 0
    stop: str | tuple[str, ...] = ()
    stop_ids: tuple[int, ...] | None = None
    ignore_eos: bool = False
    shown_ids: tuple[int, ...] = ()
    n: int = 1
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    search: Spec | None = field(default=None, hash=False)
    contrast: Spec | None = field(default=None, hash=False)
    constraint: dict[str, Any] | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        if "" in self.strings:
            raise ConfigError("stop '': must be a text of one character or more")
        fewest = 1 if self.prompt_logprobs is None else 0  # a prompt can be read without going on from it
        for name, least in {**LEAST, "max_tokens": fewest}.items():
            _expect_count(name, getattr(self, name), least)
        if self.min_tokens > self.max_tokens:
            raise ConfigError(f"min_tokens {self.min_tokens}: must not be above max_tokens {self.max_tokens}")
        if not 0 <= self.temperature < float("inf"):
            raise ConfigError(f"temperature {self.temperature}: must be 0 (greedy) or above")
        _set(self, "logit_bias", _biases(self.logit_bias))
        _set(self, "bad_words", tuple(map(tuple, self.bad_words)))
        chain(self._values())
        self._expect_parts()

    def _expect_parts(self) -> None:
        if self.search is not None:
            _set(self, "search", Spec.read(self.search, "search"))
            self.searching(frozenset(), self.max_tokens)
        if self.contrast is not None:
            _set(self, "contrast", Spec.read(self.contrast, "contrast"))
            self.contrast.build(CONTRASTS, where="contrast")
        if self.constraint is not None:
            _expect_constraint(self.constraint)

    @property
    def strings(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else self.stop

    @property
    def wants_engine(self) -> bool:
        """Whether more is asked for than one token a row and step."""
        several = self.n > 1 or self.search is not None or self.contrast is not None
        return several or self.constraint is not None or self.prompt_logprobs is not None or not self.max_tokens

    @property
    def rows(self) -> int:
        """How many rows it has side by side."""
        return self.n if self.search is None else self.searching(frozenset(), self.max_tokens).width

    @property
    def greedy(self) -> bool:
        return self.temperature <= COLD or self.top_k == 1

    def _values(self, stops: Iterable[int] = ()) -> dict[str, Any]:
        """By the name of the filter; ``stops`` are what min_tokens holds back."""
        return {
            "temperature": self.temperature if self.temperature > COLD else 1.0,
            **{name: getattr(self, name) for name in SAME},
            "logit_bias": tuple(sorted(self.logit_bias.items())),
            "min_tokens": (self.min_tokens, tuple(sorted(stops))) if self.min_tokens else (0, ()),
        }

    def decoder(self, stops: Iterable[int] = ()) -> Decoder:
        """Who chooses; the same object for equal settings, so that rows of several requests can be chosen for at once.

        ``stops``, those of ``self.stops``, are not chosen in the first min_tokens.
        """
        return _decoder(self.greedy, tuple(self._values(stops).items()))

    def filters(self, stops: Iterable[int] = ()) -> list[Filter]:
        """What acts on each step, in order; those that only shape the law a token is drawn from not where greedy."""
        return chain(self._values(stops), greedy=self.greedy)

    def searching(self, stops: frozenset[int], limit: int) -> Any:
        """The search that was asked for, made for one request of at most ``limit`` new tokens."""
        assert self.search is not None
        return self.search.build(SEARCHES, self.filters(stops), stops, limit, self.n, where="search")

    def seeds(self, rows: int) -> list[int]:
        """One a row."""
        if isinstance(self.seed, int):
            return list(range(self.seed, self.seed + rows))
        if len(self.seed) != rows:
            raise ConfigError(f"{len(self.seed)} seeds for {rows} prompts; give one number, or one a prompt")
        return list(self.seed)

    def stops(self, tokenizer: Tokenizer, vocab: int) -> frozenset[int]:
        """The ids at which generation ends; raises ConfigError if an id of any setting is no token of the model."""
        own = () if self.ignore_eos else tokenizer.stops
        ids = frozenset(own if self.stop_ids is None else self.stop_ids)
        for name, said in (("stop", ids), ("logit_bias", self.logit_bias), ("bad_words", sum(self.bad_words, ()))):
            _expect_ids(name, said, vocab)
        for name in ("logprobs", "prompt_logprobs"):
            if (getattr(self, name) or 0) > vocab:
                raise ConfigError(f"{name} {getattr(self, name)}: the model has {vocab} tokens; ask for fewer")
        return ids


@lru_cache(256)
def _decoder(greedy: bool, values: tuple[tuple[str, Any], ...]) -> Decoder:
    return Spec("greedy" if greedy else "sample").build(DECODERS, chain(dict(values), greedy=greedy))


def _set(sampling: Sampling, name: str, value: Any) -> None:
    object.__setattr__(sampling, name, value)


def _expect_count(name: str, value: int | None, least: int) -> None:
    if value is not None and not (isinstance(value, int) and value >= least):
        raise ConfigError(f"{name} {value}: must be at least {least} and whole")


def _expect_ids(name: str, ids: Iterable[int], vocab: int) -> None:
    if wrong := sorted(i for i in ids if not 0 <= i < vocab):
        raise ConfigError(f"{name} id {wrong[0]} is no token of the model; its ids are 0 … {vocab - 1}")


def _biases(given: Mapping[Any, Any]) -> dict[int, float]:
    """With whole numbers as keys, which JSON writes as texts."""
    try:
        return {int(key): float(value) for key, value in given.items()}
    except (TypeError, ValueError, AttributeError):
        raise ConfigError(f"logit_bias {given!r}: must map token ids to numbers, as in {{50: -100}}") from None


def _expect_constraint(given: Mapping[str, Any]) -> None:
    if not isinstance(given, Mapping) or len(given) != 1:
        raise ConfigError(f"constraint {given!r}: give one of {', '.join(CONSTRAINTS)}, as in {{regex: '[0-9]+'}}")
    if (kind := next(iter(given))) not in CONSTRAINTS:
        raise unknown("constraint", str(kind), list(CONSTRAINTS))
