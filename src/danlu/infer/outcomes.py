"""What becomes of requests after a pass: tokens, texts, ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from ..core.rng import generator
from .choosing import Turn, alike, chosen, searched, told_of
from .jobs import Job
from .request import Event, Stats, Told
from .scheduler import Scheduler
from .sequence import Sequence as Row
from .sequence import State


class Outcomes:
    """Gives rows their next tokens and ends them where they end; ``jobs`` are those that are not done, by number."""

    def __init__(self, scheduler: Scheduler, jobs: dict[int, Job], stats: Stats) -> None:
        self.scheduler, self.jobs, self.stats = scheduler, jobs, stats
        self._late: list[Event] = []  # of requests that broke

    def of(self, turns: Sequence[Turn]) -> list[Event]:
        """What is known now of requests whose rows were asked."""
        events = [*self._alone([one for one in turns if one.job.search is None]), *self._searched(turns), *self._late]
        self._late.clear()
        return events

    def leave(self, job: Job, state: State) -> None:
        """A request goes, and all it held is free."""
        self.scheduler.finish(job, state)
        del self.jobs[job.number]
        self.stats.finished += state is State.FINISHED
        self.stats.aborted += state is State.ABORTED

    # ── rows by themselves ───────────────────────────────────────────────────────────────────────────────────────
    def _alone(self, turns: Sequence[Turn]) -> Iterator[Event]:
        """The next token of each row of requests that do not search."""
        spread = [other for one in turns for other in self._spread(one)]
        for group in alike([one for one in spread if one.job.limit]):
            if said := list(self._chosen(group)):
                for one, tokens in told_of(said):
                    if one.job.number in self.jobs:  # a row beside it may have broken its request
                        yield from self._said(one, tokens)
        for one in spread:
            if not one.job.limit:
                yield self._ended(one.job, one.row, "length", "")

    def _chosen(self, turns: Sequence[Turn]) -> Iterator[tuple[Turn, list[int]]]:
        """The tokens of rows chosen for together; what one request breaks is that request's alone."""
        try:
            yield from zip(turns, chosen(turns), strict=True)
        except Exception as error:
            if len(turns) > 1:
                for one in turns:
                    yield from self._chosen([one])
            else:
                self._broken(turns[0].job, error)

    def _spread(self, one: Turn) -> list[Turn]:
        """A request for n answers becomes n rows when its prompt is read."""
        job, answers = one.job, one.job.request.sampling.n
        if len(job.seats) == answers:
            return [one]
        seeds = job.request.sampling.seeds(answers)
        turns = [one]
        for seat in range(1, answers):
            row = self._forked(job, one.row)
            row.random = generator(seeds[seat], "sample")
            job.rows.append(row)
            job.seats[row.serial] = seat
            turns.append(Turn(job, row, one.logits, one.voiced))
        return turns

    def _forked(self, job: Job, parent: Row) -> Row:
        row = self.scheduler.fork(parent)
        job.forked(parent, row)
        return row

    def _said(self, one: Turn, tokens: Sequence[Told]) -> Iterator[Event]:
        """These tokens are the row's: their text goes out, and the row ends where it must."""
        job, row = one.job, one.row
        seat = job.seats[row.serial]
        line, text, taken = job.lines[seat], "", []
        row.computed += len(tokens) - 1  # the keys of guesses that stay are there
        for token in tokens:
            row.tokens.append(token.id)
            taken.append(token)
            text += line.take(token)
            if row.matcher is not None and line.finish is None:
                row.matcher.take(token.id)
                text += line.end("stop") if row.matcher.over else ""
                if row.matcher.failure:
                    line.finish, line.stop = "error", f"the grammar cannot be followed: {row.matcher.failure}"
            if line.finish is not None:
                break
        self.stats.new_tokens += len(taken)
        self.stats.accepted_tokens += len(taken) - 1
        self.scheduler.shrink(row)
        yield self._ended(job, row, line.finish, text, taken) if line.finish else job.event(seat, text, taken)

    def _ended(self, job: Job, row: Row, why: str, text: str, taken: Sequence[Told] = ()) -> Event:
        """A row is done; with the last one the request is."""
        seat = job.seats[row.serial]
        job.lines[seat].finish = why
        event = job.event(seat, text, taken)
        self.scheduler.release(row)
        job.forget(row)
        job.rows.remove(row)
        if not job.rows:
            self.leave(job, State.FINISHED)
        return event

    # ── rows of a search ─────────────────────────────────────────────────────────────────────────────────────────
    def _searched(self, turns: Sequence[Turn]) -> Iterator[Event]:
        by_job: dict[int, dict[int, Turn]] = {}
        for one in turns:
            if one.job.search is not None:
                by_job.setdefault(one.job.number, {})[one.row.serial] = one
        for number, found in by_job.items():
            job = self.jobs[number]
            if len(found) == len(job.rows):
                try:
                    choice = searched(job, [found[row.serial] for row in job.rows])
                except Exception as error:
                    self._broken(job, error)
                    continue
                if choice.tokens:
                    self._regrow(job, choice.tokens, choice.parents)
                else:
                    yield from self._answers(job)

    def _regrow(self, job: Job, tokens: Sequence[int], parents: Sequence[int]) -> None:
        """The rows of the next step, each with its parent's past; the first to go on from a row takes it over."""
        old, new, taken = job.rows, [], set[int]()
        forks = [self._forked(job, old[p]) if p in taken or taken.add(p) else old[p] for p in parents]
        for row, token in zip(forks, tokens, strict=True):
            row.random = row.random if row in old else torch.Generator()
            row.tokens.append(token)
            if row.matcher is not None:
                row.matcher.take(token)
            new.append(row)
        for place, row in enumerate(old):
            if place not in taken:
                self.scheduler.release(row)
                job.forget(row)
        job.rows = new
        self.stats.new_tokens += len(new)

    def _answers(self, job: Job) -> Iterator[Event]:
        assert job.search is not None
        answers = job.search.answers()
        for seat in range(len(answers), len(job.lines)):  # the filters left fewer texts than were asked for
            job.lines[seat].end("stop")
            yield job.event(seat)
        for seat, answer in enumerate(answers):
            line, text, taken = job.lines[seat], "", []
            for token, logprob in zip(answer.tokens, answer.logprobs, strict=True):
                taken.append(Told(token, logprob))
                text += line.take(taken[-1])
                if line.finish is not None:
                    break
            text += line.end(answer.finish) if line.finish is None else ""
            yield job.event(seat, text, taken)
        self.leave(job, State.FINISHED)

    def _broken(self, job: Job, error: Exception) -> None:
        """A request that cannot go on ends with the reason; the others do not notice."""
        for seat, line in enumerate(job.lines):
            if line.finish is None:
                line.finish, line.stop = "error", str(error) or type(error).__name__
                self._late.append(job.event(seat))
        self.leave(job, State.ABORTED)
