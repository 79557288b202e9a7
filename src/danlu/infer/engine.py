"""The engine: requests in, events out, one pass of the model a step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count

import torch

from ..core.errors import ConfigError
from ..core.rng import generator
from ..nn.attention import Attends
from ..nn.model import Model
from ..tokenize import Tokenizer
from .admission import Admission
from .blocks import Blocks
from .choosing import Turn, alike, chosen, searched, told_of, told_of_prompt, turn
from .drafters import Drafter
from .forward import Forward
from .guessing import guessed
from .heard import Heard
from .jobs import Job
from .packed import Prepared
from .prompt_cache import PromptCache
from .request import Event, Request, Stats, Told
from .scheduler import Piece, Scheduler
from .sequence import Sequence as Row
from .sequence import State
from .settings import EngineSettings


class Engine:
    """Serves many requests with one model, each as if it were alone: greedy tokens do not depend on the company.

    Not for several threads: ``serve.service`` puts one in front of it. ``companion`` is a weaker model with the same
    tokens, for contrasts; ``drafter`` guesses ahead. What a row is told depends on its own tokens, settings and seed.
    Raises: ConfigError if the cache finds no room.
    """

    def __init__(
        self, model: Model | Prepared, tokenizer: Tokenizer, *, settings: EngineSettings | None = None,
        companion: Model | None = None, drafter: Drafter | None = None,
    ) -> None:  # fmt: skip
        self.settings = settings = settings or EngineSettings()
        prepared = model if isinstance(model, Prepared) else Prepared(model)
        model = prepared.model
        self.model, self.tokenizer = model, tokenizer
        if companion is not None and companion.dims.vocab != model.dims.vocab:
            raise ConfigError(
                f"the companion knows {companion.dims.vocab} tokens and the model {model.dims.vocab}; "
                "take one that was trained with the same tokenizer"
            )
        others = [] if companion is None else [companion]
        blocks = settings.blocks(self.model, *others)
        self.forward = Forward(
            prepared, settings.pages(self.model, blocks), rows=settings.rows, rounded=settings.rounded
        )
        self.weak = None
        if companion is not None:
            self.weak = Forward(Prepared(companion), settings.pages(companion, blocks), rows=settings.rows)
        self.admission = Admission(self.model, tokenizer, settings.longest(self.model), companion=bool(others))
        self.scheduler = Scheduler(
            Blocks(blocks, settings.block), budget=settings.budget, rows=settings.rows, reuse=settings.reuse,
            window=None if others else window_of(self.model), whole=self.forward.pages.whole,
        )  # fmt: skip
        self.drafter = drafter
        self.jobs: dict[int, Job] = {}
        self.numbers = count()
        self.prompts: PromptCache | None = None
        self._late: list[Event] = []  # of requests that broke in this step
        self._stats = Stats(blocks=blocks, block_size=settings.block)

    # ── what is asked ────────────────────────────────────────────────────────────────────────────────────────────
    def submit(self, request: Request, *, called: str = "the prompt") -> int:
        """Its number, under which events come; ``called`` is how messages name it.

        Raises: DanluError with the reason why it cannot be served.
        """
        job = self.admission.job(request, next(self.numbers), called)
        if reason := self.scheduler.fits(job, job.rows[0].known + job.limit):
            raise ConfigError(f"the request {reason}; ask for fewer tokens or rows, or give the cache more memory")
        if self.prompts is not None:
            self.prompts.wanted(job)
        self.jobs[job.number] = job
        self.scheduler.add(job)
        return job.number

    def abort(self, number: int) -> None:
        """Ends a request; what it held is free at once."""
        if (job := self.jobs.get(number)) is not None:
            self._leave(job, State.ABORTED)

    @property
    def busy(self) -> bool:
        return bool(self.jobs)

    @property
    def adapters(self) -> list[str]:
        return list(self.model.switch.adapters) if self.model.switch else []

    @property
    def stats(self) -> Stats:
        now = self._stats
        now.running, now.waiting = len(self.scheduler.running), len(self.scheduler.waiting)
        now.blocks_used = self.scheduler.blocks.used
        return now

    def renewed(self, adapter: str) -> None:
        """An adapter of this name came, went or has other numbers: what was kept of prompts with it is of no use."""
        revisions = self.admission.revisions
        revisions[adapter] = revisions.get(adapter, 0) + 1
        for forward in self._forwards():
            forward.ways.pop(adapter, None)
            forward.prepared.twins.clear()  # they hold what hung under this name

    def follow(self) -> None:
        """The pool learns which blocks are of no use any more, and which will not change."""
        lost, settled = self.scheduler.news()
        for forward in self._forwards():
            forward.pages.dropped(lost)
            forward.pages.settled(settled)

    # ── one step ─────────────────────────────────────────────────────────────────────────────────────────────────
    def step(self) -> list[Event]:
        """Feeds what is due and says what became known of it."""
        guesses = guessed(self.drafter, list(self._running())) if self.drafter else {}
        self._stats.drafted_tokens += sum(len(guess.tokens) for guess in guesses.values())
        plan = self.scheduler.plan()
        self.follow()
        self._stats.steps += 1
        self._stats.preemptions += len(plan.preempted)
        owner = {row.serial: job for job in self._running() for row in job.rows}
        pieces = [_owing(piece, owner[piece.row.serial]) for piece in plan.pieces]
        heard, weak = self._heard(pieces, plan.copies, owner)
        turns: list[Turn] = []
        for piece in pieces:
            job, row = owner[piece.row.serial], piece.row
            said = heard[row.serial]
            self._fed(job, piece, said)
            if piece.stop >= row.known and piece.wanted:
                guess = guesses.get(row.serial) if len(said.logits) > 1 else None
                turns.append(turn(job, row, said, weak.get(row.serial), guess))
        events = [*self._alone([one for one in turns if one.job.search is None]), *self._searched(turns), *self._late]
        self._late.clear()
        return events

    def _running(self) -> Iterator[Job]:
        return (job for job in self.jobs.values() if job.state is State.RUNNING)

    def _forwards(self) -> list[Forward]:
        return [self.forward] if self.weak is None else [self.forward, self.weak]

    def _heard(
        self, pieces: Sequence[Piece], copies: Sequence[tuple[int, int]], owner: dict[int, Job]
    ) -> tuple[dict[int, Heard], dict[int, Heard]]:
        """What the model says, and for those who want it what the weaker one does."""
        readings = {piece.row.serial: owner[piece.row.serial].readings[piece.row.serial] for piece in pieces}
        for forward in self._forwards():
            forward.copy(copies)
        heard = self.forward.run(pieces, readings)
        if self.weak is None:
            return heard, {}
        both = [p for p in pieces if (c := owner[p.row.serial].contrast) is not None and c.wants_weak]
        plain = {serial: reading.plain() for serial, reading in readings.items()}
        return heard, self.weak.run(both, plain) if both else {}

    def _fed(self, job: Job, piece: Piece, heard: Heard) -> None:
        """Counts, and keeps what was asked of the prompt."""
        row = piece.row
        if not job.spoke and not row.tokens:
            self._stats.prompt_tokens += piece.stop - piece.start
            if piece.start == row.cached and piece.start:
                self._stats.cached_tokens += row.cached
                if self.prompts is not None:
                    self.prompts.found(job, row.cached)
            job.cached = row.cached
        if job.owed:
            job.prompt_told += told_of_prompt(job, piece, heard)
            heard.logits = heard.logits[-1:]
        job.hear(row, piece.start, heard)
        self.scheduler.done(piece)
        self.scheduler.settle(job, row)

    # ── rows by themselves ───────────────────────────────────────────────────────────────────────────────────────
    def _alone(self, turns: Sequence[Turn]) -> Iterator[Event]:
        """The next token of each row of requests that do not search."""
        spread = [other for one in turns for other in self._spread(one)]
        for group in alike([one for one in spread if one.job.limit]):
            if said := list(self._chosen(group)):
                for one, tokens in told_of(said):
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
        self._stats.new_tokens += len(taken)
        self._stats.accepted_tokens += len(taken) - 1
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
            self._leave(job, State.FINISHED)
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
        self._stats.new_tokens += len(new)

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
        self._leave(job, State.FINISHED)

    def _broken(self, job: Job, error: Exception) -> None:
        """A request that cannot go on ends with the reason; the others do not notice."""
        for seat, line in enumerate(job.lines):
            if line.finish is None:
                line.finish, line.stop = "error", str(error) or type(error).__name__
                self._late.append(job.event(seat))
        self._leave(job, State.ABORTED)

    def _leave(self, job: Job, state: State) -> None:
        self.scheduler.finish(job, state)
        del self.jobs[job.number]
        self._stats.finished += state is State.FINISHED
        self._stats.aborted += state is State.ABORTED


def _owing(piece: Piece, job: Job) -> Piece:
    """A piece of a prompt whose log-probabilities are asked for is asked everywhere."""
    return piece._replace(wanted=piece.stop - piece.start) if job.owed else piece


def window_of(model: Model) -> int | None:
    """How far back any layer looks, in tokens; None if some layer looks at all."""
    back = [layer.mask.back for layer in model.modules() if isinstance(layer, Attends)]
    return None if None in back else max((size for size in back if size is not None), default=None)
