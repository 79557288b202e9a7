"""What is asked of an engine and what it tells: values that cross threads."""

from __future__ import annotations

from dataclasses import dataclass, field

from .sampling import Sampling


@dataclass(frozen=True, kw_only=True)
class Request:
    """Token ids to go on from, and how.

    ``adapter`` is the name of one that is attached: None for what acted when the engine was made, "" for the base
    alone. Requests of another ``salt`` never share what is kept of a prompt. A lower ``priority`` goes first.
    """

    prompt: tuple[int, ...]
    sampling: Sampling = field(default_factory=Sampling)
    adapter: str | None = None
    salt: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Told:
    """A token, its log-probability by the model (natural, before any filter), and the likeliest in its place."""

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """What became known of one answer of a request.

    ``index`` says which answer; ``text`` is what can be shown now, never half a character nor part of a stop string;
    ``finish`` is "stop", "length", "abort" or "error", ``stop`` the string or id it ended at, or what went wrong. The
    first event of a request says how many tokens of its prompt were ``cached``, and has their log-probabilities in
    ``prompt`` where they were asked for: the first token has none.
    """

    number: int
    index: int
    text: str = ""
    tokens: tuple[Told, ...] = ()
    finish: str | None = None
    stop: str | int | None = None
    cached: int | None = None
    prompt: tuple[Told | None, ...] = ()


@dataclass(slots=True)
class Stats:
    """What an engine has done and holds, since it was made."""

    running: int = 0
    waiting: int = 0
    blocks: int = 0
    blocks_used: int = 0
    block_size: int = 0
    steps: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    new_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    preemptions: int = 0
    finished: int = 0
    aborted: int = 0
