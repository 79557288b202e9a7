"""Guesses of the rows that decode now."""

from __future__ import annotations

from collections.abc import Sequence

from .drafters import Drafter, Guess
from .jobs import Job
from .sequence import Sequence as Row


def guessed(drafter: Drafter, jobs: Sequence[Job]) -> dict[int, Guess]:
    """Guesses behind the last token of rows that go on by themselves, by the row's serial number; rows are given them.

    A row is never given more than it may still say, nor what its grammar will turn down.
    """
    by_decoder: dict[int, list[tuple[Job, Row]]] = {}
    for job in jobs:
        if job.search is None and not job.owed:
            rows = [(job, row) for row in job.rows if row.behind == 1 and _left(job, row) > 1]
            by_decoder.setdefault(id(job.decoder), []).extend(rows)
    found: dict[int, Guess] = {}
    for pairs in filter(None, by_decoder.values()):
        most = max(_left(job, row) - 1 for job, row in pairs)
        guesses = drafter.propose([row for _, row in pairs], pairs[0][0].decoder, most)
        for (job, row), guess in zip(pairs, guesses, strict=True):
            room = _left(job, row) - 1
            cut = guess.first(room if row.matcher is None else min(room, row.matcher.accepts(guess.tokens)))
            row.drafts = list(cut.tokens)
            if cut.tokens:
                found[row.serial] = cut
    return found


def _left(job: Job, row: Row) -> int:
    """How many tokens a row may still say."""
    return job.limit - len(row.tokens)
