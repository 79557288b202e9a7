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
from ..tokenize.pieces import CONTINUED
from .grammars import described, library, short
from .trials import Trials

T = TypeVar("T")

KEPT = 64  # compiled grammars
SECONDS = 2.0  # of the processor that one answer may spend on masks, and
SECONDS_A_TOKEN = 0.01  # for each of its tokens
LIMITS = {
    "max_items_in_row": 1_000,
    "step_max_items": 20_000,
    "step_lexer_fuel": 100_000,
    "max_lexer_states": 100_000,
    "max_grammar_size": 250_000,
}


class Vocabulary:
    """The pieces of a tokenizer as bytes, for a model whose logits are of this size; made once for all its grammars.

    One more piece, which no model knows, stands for the end of the text.
    """

    def __init__(self, tokenizer: Tokenizer, size: int) -> None:
        self.size, self._tokenizer = size, tokenizer
        self.tokens = [self._bytes(token) for token in range(size)] + [b"\xff<over>"]
        self.eos_token_id, self.bos_token_id = size, None  # these names are the library's
        self.special_token_ids = [*(i for i in tokenizer.special_ids if i < size), size]
        self.wrapped = library().LLTokenizer(library().TokenizerWrapper(self))
        self.late = torch.tensor([token for token in range(size) if self._changes(token)], dtype=torch.long)
        self._trials, self._lock = Trials(), threading.Lock()
        self._kept: OrderedDict[str, Grammar | str] = OrderedDict()

    def __call__(self, text: bytes | str) -> list[int]:
        """How the tokenizer itself would spell a text that is forced; nothing if it cannot."""
        raw = text.encode() if isinstance(text, str) else text
        ids = self._tokenizer.marked.engine(bare=True).encode(raw.decode("utf-8", "ignore"))
        return ids if b"".join(self.tokens[token] for token in ids if token < self.size) == raw else []

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
        grammar = Grammar(self, text)
        first = grammar.matcher(())
        first.allowed()
        return short(first.failure) or grammar

    def _changes(self, token: int) -> bool:
        """Whether a token says something else where a text begins: such a one is not the first of an answer."""
        spoken = self.tokens[token]
        if spoken[:1] != b" " and not self._tokenizer.piece(token).startswith(CONTINUED):
            return False
        return token < self._tokenizer.vocab_size and self._tokenizer.spoken(token, True) != spoken

    def _bytes(self, token: int) -> bytes:
        if token >= self._tokenizer.vocab_size:
            return b""
        if token in self._tokenizer.special_ids:
            return b"\xff" + self._tokenizer.piece(token).encode()
        spoken = self._tokenizer.spoken(token, False)
        return b"" if spoken[:1] == b"\xff" else spoken  # the byte 255 is in no text, and marks what is special


class Grammar:
    """A constraint compiled for a vocabulary; made by its ``grammar``. ``text`` is llguidance's spelling of it."""

    def __init__(self, vocabulary: Vocabulary, text: str) -> None:
        limits = library().LLParserLimits(verbose_errors=False, **LIMITS)
        self.vocabulary, self.text = vocabulary, text
        self._start = library().LLMatcher(vocabulary.wrapped, text, log_level=0, limits=limits)

    def matcher(self, stops: Iterable[int]) -> Matcher:
        """For one answer, which may end with any of these tokens where the grammar lets it end."""
        return Matcher(self.vocabulary, self._start.deep_copy(), torch.tensor(sorted(stops), dtype=torch.long))


class Matcher:
    """Where an answer stands in its grammar."""

    def __init__(self, vocabulary: Vocabulary, state: Any, stops: Tensor) -> None:
        self._vocabulary, self._state, self._stops = vocabulary, state, stops
        self._ended, self._taken, self._spent = False, 0, 0.0
        self._mask: Tensor | None = None
        self.failure = ""  # why the answer could not go on although its grammar is not satisfied

    def allowed(self) -> Tensor:
        """(V,) bool: what may be chosen next. Stops may where the text may end, and where nothing else can follow."""
        mask = self._now()[:-1].clone()
        if self.over or bool(self._now()[-1]):
            mask[self._stops] = True
        return mask

    @property
    def over(self) -> bool:
        """Whether nothing can follow."""
        return self._ended or not bool(self._now()[:-1].any())

    def take(self, token: int) -> None:
        """Goes on by a token: a stop ends it, one that the grammar does not allow is its failure."""
        self._taken += 1
        if bool((self._stops == token).any()):
            self._ended = True
            return
        self._timed(lambda: self._state.consume_token(token))
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
        twin = Matcher(self._vocabulary, self._state.deep_copy(), self._stops)
        twin._ended, twin._taken, twin._spent = self._ended, self._taken, self._spent
        twin._mask, twin.failure = self._mask, self.failure
        return twin

    def _now(self) -> Tensor:
        """(V + 1,) bool: the tokens that may follow, and last whether the text may end."""
        if self._mask is None:
            bits = self._timed(self._state.compute_bitmask)
            mask = np.unpackbits(np.frombuffer(bits, np.uint8), count=self._vocabulary.size + 1, bitorder="little")
            self._mask = torch.from_numpy(mask).bool()
            if not self._taken:
                self._mask[self._vocabulary.late] = False
            self.failure = self._reason(self._mask)
            if self.failure:
                self._mask[:] = False
        return self._mask

    def _reason(self, mask: Tensor) -> str:
        """Why it cannot go on, "" if it can."""
        if self._state.is_error():
            return self._state.get_error()
        if self._spent > SECONDS + SECONDS_A_TOKEN * self._taken:
            return f"its masks took {self._spent:.1f} seconds"
        return "" if bool(mask.any()) or self._state.is_accepting() else "the vocabulary cannot spell what must follow"

    def _timed(self, work: Callable[[], T]) -> T:
        begun = time.thread_time()
        done = work()
        self._spent += time.thread_time() - begun
        return done
