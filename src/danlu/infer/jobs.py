"""A request on its way through the engine: its rows, its texts, and who chooses for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from .contrasts import Contrast
from .decoders import Decoder
from .heard import Heard, Reading
from .lines import Line
from .request import Event, Request, Told
from .searches import Search
from .sequence import Group
from .sequence import Sequence as Row


@dataclass(eq=False, kw_only=True)
class Job(Group):
    """``seats`` says which answer a row is, ``readings`` what a pass must know of it, both by its serial number.

    ``search`` and ``contrast`` are None where tokens are chosen row by row from the model's own logits. ``owed`` counts
    the tokens of the prompt whose log-probabilities were asked for and not told yet; ``lines`` are the answers' texts.
    """

    request: Request
    decoder: Decoder
    stops: frozenset[int]
    limit: int
    search: Search | None = None
    contrast: Contrast | None = None
    lines: list[Line] = field(default_factory=list)
    seats: dict[int, int] = field(default_factory=dict)
    readings: dict[int, Reading] = field(default_factory=dict)
    heard_of: dict[int, int] = field(default_factory=dict)  # of how many tokens of a row a search knows the states
    states: dict[int, list[Tensor]] = field(default_factory=dict)  # those it is still to be told
    prompt_told: list[Told | None] = field(default_factory=list)
    cached: int = 0
    spoke: bool = False

    @property
    def owed(self) -> int:
        asked = self.request.sampling.prompt_logprobs is not None
        return max(0, len(self.rows[0].prompt) - len(self.prompt_told)) if asked and self.rows else 0

    def event(self, index: int, text: str = "", tokens: Sequence[Told] = ()) -> Event:
        """What became known of an answer; the first event tells of the prompt as well."""
        first, self.spoke = not self.spoke, True
        line = self.lines[index]
        return Event(
            self.number, index, text, tuple(tokens), line.finish, line.stop,
            self.cached if first else None, tuple(self.prompt_told) if first else (),
        )  # fmt: skip

    def hear(self, row: Row, start: int, heard: Heard) -> None:
        """Keeps the states that a search has not been told: a pre-empted row is fed again."""
        if heard.hidden is not None:
            known = self.heard_of.get(row.serial, 0)
            self.states.setdefault(row.serial, []).append(heard.hidden[max(0, known - start) :])
            self.heard_of[row.serial] = max(known, start + len(heard.hidden))

    def forked(self, parent: Row, child: Row) -> None:
        """A row has the past of another."""
        self.readings[child.serial] = self.readings[parent.serial].fork()
        if parent.serial in self.heard_of:
            self.heard_of[child.serial] = self.heard_of[parent.serial]

    def forget(self, row: Row) -> None:
        for kept in (self.readings, self.heard_of, self.states):
            kept.pop(row.serial, None)
