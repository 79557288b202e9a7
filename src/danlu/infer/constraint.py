"""Answers that keep to a JSON schema, an expression, a choice or a grammar: which tokens may come next."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..core.errors import ConfigError
from ..tokenize import Tokenizer
from .grammars import described, library, short
from .spelling import Spelling
from .trials import Trials

T = TypeVar("T")

KEPT = 32  # compiled grammars: at most some 20 MB each
SECONDS = 1.0  # of the processor that one answer may spend on masks, and
SECONDS_A_TOKEN = 0.005  # for each of its tokens
LIMITS = {
    "max_items_in_row": 2_000,
    "step_max_items": 20_000,
    "step_lexer_fuel": 100_000,
    "max_lexer_states": 20_000,
    "max_grammar_size": 250_000,
}


class Vocabulary:
    """A tokenizer, and a model whose logits are of this size: made once for all its grammars, which it keeps."""

    def __init__(self, tokenizer: Tokenizer, size: int) -> None:
        self.spelling = Spelling(tokenizer, size)
        self._trials, self._lock = Trials(size, self.spelling.special), threading.Lock()
        self._kept: OrderedDict[str, Grammar | str] = OrderedDict()

    def grammar(self, constraint: Mapping[str, Any]) -> Grammar:
        """Compiled, or found again; any thread may ask.

        Raises: ConfigError if the constraint is wrong, asks too much, or cannot be spelled in this vocabulary.
        """
        text, form = described(constraint), next(iter(constraint))
        with self._lock:
            found = self._kept.get(text)
        found = found or self._compiled(text)
        with self._lock:
            self._kept[text] = found
            self._kept.move_to_end(text)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        if isinstance(found, Grammar):
            return found
        raise ConfigError(f"{form} cannot be followed: {found}; make it simpler or leave that part out")

    def _compiled(self, text: str) -> Grammar | str:
        """The grammar, or why there is none."""
        if reason := self._trials.reason(text, LIMITS):
            return short(reason)
        grammar = Grammar(self.spelling, text)
        first = grammar.matcher(())
        first.allowed()
        return first.failure or grammar


class Grammar:
    """A constraint compiled for a vocabulary, by its ``grammar``. ``text`` is llguidance's spelling of it."""

    def __init__(self, spelling: Spelling, text: str) -> None:
        limits = library().LLParserLimits(verbose_errors=False, **LIMITS)
        self.spelling, self.text = spelling, text
        self._start = library().LLMatcher(spelling.wrapped, text, log_level=0, limits=limits)
        self.begins = {token: self._may_begin(said) for token, said in spelling.opening.items()}

    def matcher(self, stops: Iterable[int]) -> Matcher:
        """For one answer, which may end with any of these tokens where the grammar lets it end."""
        return Matcher(self, self._start.deep_copy(), tuple(sorted(stops)))

    def _may_begin(self, said: bytes) -> bool:
        ids = self.spelling.spelled(said)
        return self._start.validate_tokens(ids) == len(ids)


class Matcher:
    """Where an answer stands in its grammar."""

    def __init__(self, grammar: Grammar, state: Any, stops: tuple[int, ...]) -> None:
        self._grammar, self._state, self._stops = grammar, state, stops
        self._ended, self._taken, self._spent = False, 0, 0.0
        self._mask: Tensor | None = None
        self._more = True  # whether the mask lets anything follow
        self.failure = ""  # why the answer could not go on although its grammar is not satisfied

    def allowed(self) -> Tensor:
        """(V,) bool: what may be chosen next. Stops may where the text may end, and where nothing else can follow."""
        mask = self._now()[:-1].clone()
        if self._stops and (self.over or bool(self._now()[-1])):
            mask[list(self._stops)] = True
        return mask

    @property
    def over(self) -> bool:
        """Whether nothing can follow."""
        self._now()
        return self._ended or not self._more

    def take(self, token: int) -> None:
        """Goes on by a token: a stop ends it, one that the grammar does not allow is its failure."""
        self._taken += 1
        if token in self._stops:
            self._ended = True
            return
        said = self._grammar.spelling.opening.get(token) if self._taken == 1 else None
        ids = [token] if said is None else self._grammar.spelling.spelled(said)
        self._timed(lambda: self._state.consume_tokens(ids) if ids else True)
        self._mask = None

    def accepts(self, tokens: Sequence[int]) -> int:
        """How many of these it would take one after the other."""
        twin = self.fork()
        for place, token in enumerate(tokens):
            if twin._ended or not bool(twin.allowed()[token]):
                return place
            twin.take(token)
        return len(tokens)

    def fork(self) -> Matcher:
        """Another that stands where this one does."""
        twin = Matcher(self._grammar, self._state.deep_copy(), self._stops)
        twin._ended, twin._taken, twin._spent = self._ended, self._taken, self._spent
        twin._mask, twin._more, twin.failure = self._mask, self._more, self.failure
        return twin

    def _now(self) -> Tensor:
        """(V + 1,) bool: the tokens that may follow, and last whether the text may end."""
        if self._mask is None:
            bits = self._timed(self._state.compute_bitmask)
            mask = np.unpackbits(
                np.frombuffer(bits, np.uint8), count=self._grammar.spelling.size + 1, bitorder="little"
            )
            self._mask = torch.from_numpy(mask).bool()
            if not self._taken and self._grammar.begins:
                self._mask[list(self._grammar.begins)] = torch.tensor(list(self._grammar.begins.values()))
            self.failure = self._reason(self._mask)
            if self.failure:
                self._mask[:] = False
            self._more = bool(self._mask[:-1].any())
        return self._mask

    def _reason(self, mask: Tensor) -> str:
        """Why it cannot go on, "" if it can."""
        if self._state.is_error():
            return short(self._state.get_error())
        if self._spent > SECONDS + SECONDS_A_TOKEN * self._taken:
            return f"its masks took {self._spent:.1f} seconds"
        return "" if bool(mask.any()) or self._state.is_accepting() else "the vocabulary cannot spell what must follow"

    def _timed(self, work: Callable[[], T]) -> T:
        begun = time.thread_time()
        done = work()
        self._spent += time.thread_time() - begun
        return done
