"""The engine: requests in, events out, one pass of the model a step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count

from ..core.errors import ConfigError
from ..nn.model import Model
from ..tokenize import Tokenizer
from .admission import Admission
from .blocks import Blocks
from .choosing import Turn, told_of_prompt, turn
from .drafters import Drafter
from .forward import Forward
from .guessing import guessed
from .heard import Heard
from .jobs import Job
from .outcomes import Outcomes
from .packed import Prepared
from .prompt_cache import PromptCache
from .request import Event, Request, Stats
from .scheduler import Piece, Scheduler
from .sequence import State
from .settings import EngineSettings, window_of


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
        self._stats = Stats(blocks=blocks, block_size=settings.block)
        self.outcomes = Outcomes(self.scheduler, self.jobs, self._stats)

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
            self.outcomes.leave(job, State.ABORTED)

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
        return self.outcomes.of(turns)

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


def _owing(piece: Piece, job: Job) -> Piece:
    """A piece of a prompt whose log-probabilities are asked for is asked everywhere."""
    return piece._replace(wanted=piece.stop - piece.start) if job.owed else piece
