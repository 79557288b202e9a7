"""Requests through an engine, for the tests of engine and server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import danlu.models
from danlu.infer.engine import Engine
from danlu.infer.request import Event, Request
from danlu.infer.sampling import Sampling


@dataclass
class Told:
    """All that an engine said of one answer."""

    text: str = ""
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish: str | None = None
    stop: object = None


def served(engine: Engine, prompts: Sequence[Sequence[int]], sampling: Sampling, **more: object) -> list[list[Told]]:
    """The answers of each prompt, all submitted at once; afterwards not a block is taken."""
    numbers = [engine.submit(Request(prompt=tuple(ids), sampling=sampling, **more)) for ids in prompts]  # type: ignore[arg-type]
    events = drained(engine)
    return [told([event for event in events if event.number == number], sampling.n) for number in numbers]


def drained(engine: Engine) -> list[Event]:
    events: list[Event] = []
    for _ in range(20_000):
        if not engine.busy:
            break
        events += engine.step()
    assert not engine.busy, "the engine does not come to an end"
    assert engine.stats.blocks_used == 0, "blocks are taken by nobody"
    return events


def told(events: Sequence[Event], answers: int) -> list[Told]:
    found = [Told() for _ in range(answers)]
    for event in events:
        one = found[event.index]
        assert one.finish is None, "an answer goes on after its end"
        one.text += event.text
        one.tokens += [token.id for token in event.tokens]
        one.logprobs += [token.logprob for token in event.tokens]
        one.finish, one.stop = event.finish, event.stop
    return found


def whole_greedy(model: danlu.models.Stack, prompt: Sequence[int], tokens: int) -> list[int]:
    """By reading everything again for each token: no cache, no batch, no engine."""
    import torch

    ids = list(prompt)
    with torch.inference_mode():
        for _ in range(tokens):
            ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    return ids[len(prompt) :]
