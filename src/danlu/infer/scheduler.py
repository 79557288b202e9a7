"""What is computed in a step: plain Python, no tensor in sight."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from ..core.errors import ConfigError
from .blocks import Blocks, keys
from .sequence import Group, Sequence, State


class Piece(NamedTuple):
    """So many tokens of a row are fed, from ``start`` on; its last ``wanted`` ones are asked what comes next."""

    row: Sequence
    start: int
    stop: int
    wanted: int


@dataclass
class Plan:
    """One forward pass: first blocks are copied (from, to), then the pieces are fed."""

    pieces: list[Piece] = field(default_factory=list)
    copies: list[tuple[int, int]] = field(default_factory=list)
    preempted: list[Group] = field(default_factory=list)


class Scheduler:
    """Decides who is fed what: rows that decode first, then prompts in chunks, under one budget of tokens a step.

    ``rows`` side by side at most; a request is admitted when its whole prompt has room; ``window`` is how far back
    anyone looks, None for all. Where the pool is full, the request that ranks last gives its blocks back and is
    computed again later. Blocks older than the newest ``whole`` tokens of a row may be rounded; None: that is over
    when they are written.
    Raises: ConfigError if budget or rows is not above 0.
    Source: Yu et al. 2022, "Orca", OSDI, §4 (a schedule per step); Agrawal et al. 2024, arXiv:2403.02310, §4 (chunks
    of prompts beside decoding rows under one budget); Kwon et al. 2023, arXiv:2309.06180, §4.5 (recompute).
    Truth:  tests/properties/test_scheduler.py (a machine of requests: everything ends, nothing leaks, order is kept).
    """

    def __init__(
        self, blocks: Blocks, *, budget: int = 512, rows: int = 64, window: int | None = None, reuse: bool = True,
        whole: int | None = None,
    ) -> None:  # fmt: skip
        if budget < 1 or rows < 1:
            raise ConfigError(f"an engine needs a budget of a token and a row at least, found {budget} and {rows}")
        self.blocks, self.budget, self.rows = blocks, budget, rows
        self.window, self.reuse, self.whole = window, reuse, whole
        self.old: list[int] = []  # blocks that have become older than that
        self.waiting: list[Group] = []
        self.running: list[Group] = []

    # ── what comes and goes ──────────────────────────────────────────────────────────────────────────────────────
    def fits(self, group: Group, tokens: int) -> str | None:
        """Why a request of so many tokens in all could never be served; None if it can."""
        row = group.rows[0]
        each = -(-row.slots(tokens) // self.blocks.size)
        if self.window is not None and not group.whole:
            each = min(each, -(-(self.window + self.budget) // self.blocks.size) + 1)
        need = group.rows_wanted * each
        if need > self.blocks.count:
            return f"needs {need} blocks of {self.blocks.size} tokens, and the pool has {self.blocks.count}"
        if group.rows_wanted > self.rows:
            return f"wants {group.rows_wanted} rows side by side, and the engine has {self.rows}"
        return None

    def add(self, group: Group) -> None:
        self.waiting.append(group)
        self.waiting.sort(key=lambda one: one.rank)

    def finish(self, group: Group, state: State = State.FINISHED) -> None:
        """It leaves, and all its blocks are free at once."""
        if group.state in (State.FINISHED, State.ABORTED):
            return
        for row in group.rows:
            self.release(row)
        (self.waiting if group.state is State.WAITING else self.running).remove(group)
        group.state = state

    def release(self, row: Sequence) -> None:
        """Gives back what a row holds; what it computed is lost to it."""
        for block in reversed(row.table):
            if block is not None:
                self.blocks.give(block)
        row.table, row.drafts = [], []
        row.computed = row.named = row.forgotten = row.aged = 0

    def fork(self, row: Sequence) -> Sequence:
        """Another row with the same past, in the same blocks until one of them writes."""
        for block in row.table:
            if block is not None:
                self.blocks.share(block)
        return row.fork()

    # ── one step ─────────────────────────────────────────────────────────────────────────────────────────────────
    def plan(self) -> Plan:
        """What is fed next; nothing if all is done."""
        plan = Plan()
        left = self.budget
        for group in sorted(self.running, key=lambda one: one.rank):
            if group.state is State.RUNNING and all(row.behind == 1 for row in group.rows):
                left -= self._decoding(group, plan)
        for group in sorted(self.running, key=lambda one: one.rank):
            if group.state is State.RUNNING and any(row.behind > 1 for row in group.rows):
                left -= self._catching_up(group, plan, left)
        while left > 0 and self.waiting and self._admitted(self.waiting[0]):
            group = self.waiting.pop(0)
            group.state = State.RUNNING
            self.running.append(group)
            left -= self._catching_up(group, plan, left)
        return plan

    def done(self, piece: Piece) -> None:
        """A piece was computed: full blocks can be found from now on, those nobody looks at any more are given back."""
        row = piece.row
        row.computed = min(piece.stop, row.known)
        row.drafts = []

    def settle(self, group: Group, row: Sequence) -> None:
        """Names the full blocks of what a row is certain of, and forgets what lies behind the window."""
        size, certain = self.blocks.size, row.slots(row.computed)
        if group.root is not None and self.reuse and certain // size > row.named:
            row.keys = keys(group.root, self._text(row, row.computed), size, row.keys)
            for place in range(row.named, certain // size):
                if (block := row.table[place]) is not None:
                    self.blocks.name(block, row.keys[place])
            row.named = certain // size
        while self.window is not None and (row.forgotten + 1) * size <= certain - self.window:
            if (block := row.table[row.forgotten]) is not None:
                self.blocks.give(block)
                row.table[row.forgotten] = None
            row.forgotten += 1

        if self.whole is not None and (old := max(0, certain - self.whole) // size) > row.aged:
            self.old += [block for block in row.table[row.aged : old] if block is not None]
            row.aged = old

    def news(self) -> tuple[list[int], list[int]]:
        """Since last asked, of blocks: whose content is of no use any more, and whose content will not change."""
        lost, kept = self.blocks.news()
        old, self.old = self.old, []
        gone = set(lost)
        return lost, [*kept, *(block for block in old if block not in gone)]

    def shrink(self, row: Sequence) -> None:
        """Gives back blocks behind what was computed: guesses that were wrong."""
        need = -(-row.slots(row.computed) // self.blocks.size)
        while len(row.table) > need:
            if (block := row.table.pop()) is not None:
                self.blocks.give(block)

    # ── how ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def _decoding(self, group: Group, plan: Plan) -> int:
        """The next token of every row, and its guesses as far as there is room."""
        pieces = []
        for row in group.rows:
            if not self._room(group, row, row.known, plan):
                return 0
            if row.drafts and self._needs(row, row.known + len(row.drafts)) > len(self.blocks.free):
                row.drafts = []
            start, stop = row.computed, row.known + len(row.drafts)
            self._grow(row, start, stop, plan)
            pieces.append(Piece(row, start, stop, stop - start))
        plan.pieces += pieces
        return sum(piece.stop - piece.start for piece in pieces)

    def _catching_up(self, group: Group, plan: Plan, left: int) -> int:
        """The next chunk of prompts, or of what was computed before it was pre-empted.

        Rows that go on side by side stop before their last token: all are asked in one step.
        """
        fed = 0
        for row in group.rows:
            if not row.computed:
                self._match(group, row)
            last = row.known - (len(group.rows) > 1)
            size = last - row.computed if group.whole else min(last - row.computed, left - fed)
            if size <= 0 or (group.whole and size > left - fed and _reading(plan)):
                continue
            stop = row.computed + size
            if not self._room(group, row, stop, plan):
                break
            self._grow(row, row.computed, stop, plan)
            plan.pieces.append(Piece(row, row.computed, stop, int(stop == row.known)))
            fed += size
        if not fed and group.state is State.RUNNING and all(row.behind == 1 for row in group.rows):
            return self._decoding(group, plan)  # all of it was found
        return fed

    def _admitted(self, group: Group) -> bool:
        """Whether the whole prompt of a waiting request has room now, without taking it from anyone."""
        if sum(max(one.rows_wanted, len(one.rows)) for one in self.running) + group.rows_wanted > self.rows:
            return False
        need = sum(-(-row.slots(row.known + 1) // self.blocks.size) for row in group.rows)
        shared = sum(self._found(group, row) for row in group.rows)
        return not self.running or need - shared <= len(self.blocks.free) - self._promised()

    def _promised(self) -> int:
        """Blocks that running requests still need for what they know."""
        return sum(
            max(0, -(-row.slots(row.known + 1) // self.blocks.size) - len(row.table))
            for group in self.running
            for row in group.rows
        )

    def _found(self, group: Group, row: Sequence) -> int:
        """How many blocks of its beginning others are using: they cost nothing."""
        return sum(1 for block in self._matching(group, row) if self.blocks.uses[block])

    def _matching(self, group: Group, row: Sequence) -> Iterator[int]:
        """The blocks that hold its beginning already; never the whole of it: one token at least is computed."""
        if group.root is None or not self.reuse or group.whole:
            return
        row.keys = keys(group.root, self._text(row, row.known - 1), self.blocks.size, row.keys)
        for key in row.keys[: row.slots(row.known - 1) // self.blocks.size]:
            block = self.blocks.find(key)
            if block is None:
                return
            yield block

    def _text(self, row: Sequence, tokens: int) -> list[int]:
        """What the places of so many tokens hold: virtual tokens are named -1."""
        return [-1] * row.extra + row.ids(0, tokens)

    def _match(self, group: Group, row: Sequence) -> None:
        found = list(self._matching(group, row))
        if len(found) * self.blocks.size <= row.extra:
            return
        for block in found:
            self.blocks.share(block)
        row.table, row.named = [*found], len(found)
        row.computed = len(found) * self.blocks.size - row.extra
        if not row.tokens:
            row.cached = row.computed

    def _room(self, group: Group, row: Sequence, tokens: int, plan: Plan) -> bool:
        """Makes room for so many tokens of a row, at the cost of requests that rank behind; False: it went itself."""
        while self._needs(row, tokens) > len(self.blocks.free):
            victim = max(self.running, key=lambda one: one.rank)
            self._preempt(victim, plan)
            if victim is group:
                return False
        return True

    def _preempt(self, victim: Group, plan: Plan) -> None:
        fed = {id(row) for row in victim.rows}
        plan.pieces = [piece for piece in plan.pieces if id(piece.row) not in fed]
        for row in victim.rows:
            self.release(row)
        self.running.remove(victim)
        victim.state = State.WAITING
        victim.preempted += 1
        plan.preempted.append(victim)
        self.add(victim)

    def _needs(self, row: Sequence, tokens: int) -> int:
        """New blocks for so many tokens, and one more where the last is shared and would be written."""
        blocks = -(-row.slots(tokens) // self.blocks.size) - len(row.table)
        return max(0, blocks) + int(self._shared_end(row))

    def _shared_end(self, row: Sequence) -> bool:
        """Whether the block that is written next has other users."""
        place = row.slots(row.computed) // self.blocks.size
        block = row.table[place] if place < len(row.table) else None
        return block is not None and self.blocks.uses[block] > 1

    def _grow(self, row: Sequence, start: int, stop: int, plan: Plan) -> None:
        """Blocks for what will be written; a shared one is copied before."""
        if self._shared_end(row):
            place = row.slots(start) // self.blocks.size
            old = row.table[place]
            assert old is not None
            row.table[place] = self.blocks.take(row.table[place - 1] if place else None)
            plan.copies.append((old, row.table[place]))  # type: ignore[arg-type]
            self.blocks.give(old)
        while len(row.table) * self.blocks.size < row.slots(stop):
            row.table.append(self.blocks.take(row.table[-1] if row.table else None))


def _reading(plan: Plan) -> bool:
    """Whether somebody's prompt is read already: one that cannot be cut may exceed the budget, two may not."""
    return any(piece.stop - piece.start > 1 + len(piece.row.drafts) for piece in plan.pieces)
