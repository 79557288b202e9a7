"""The scheduler against a memory of what was written where: everything ends, nothing leaks, every key is the right one.

A place of the pool holds the text up to its token. Whoever is fed must find its own past there, whatever was shared,
copied, pre-empted, forgotten or found again.
"""

from __future__ import annotations

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from danlu.core.errors import ConfigError
from danlu.infer.blocks import Blocks, root
from danlu.infer.scheduler import Piece, Plan, Scheduler
from danlu.infer.sequence import Group, Sequence, State

PHASES = [Phase.explicit, Phase.reuse, Phase.generate]  # making a history small takes minutes
TOKENS = st.lists(st.integers(0, 1), min_size=1, max_size=12)


class Client:
    """What a request wants: ``limit`` tokens in each of ``width`` rows, which ``search`` regroups at each step."""

    def __init__(self, group: Group, limit: int, *, search: bool) -> None:
        self.group, self.limit, self.search = group, limit, search
        self.spread = False


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.begin(4, 2, 4, 2, None, None, True)

    @initialize(
        count=st.integers(3, 12), size=st.integers(1, 4), budget=st.integers(1, 9), rows=st.integers(1, 5),
        window=st.one_of(st.none(), st.integers(1, 6)), whole=st.one_of(st.none(), st.integers(0, 5)),
        reuse=st.booleans(),
    )  # fmt: skip
    def begin(self, count, size, budget, rows, window, whole, reuse) -> None:
        self.blocks = Blocks(count, size)
        self.scheduler = Scheduler(self.blocks, budget=budget, rows=rows, window=window, whole=whole, reuse=reuse)
        self.clients: dict[int, Client] = {}
        self.memory: dict[int, object] = {}  # place → the text up to it
        self.settled: set[int] = set()
        self.number = 0

    # ── what clients do ──────────────────────────────────────────────────────────────────────────────────────────
    @rule(
        prompt=TOKENS, limit=st.integers(1, 7), width=st.integers(1, 3), search=st.booleans(),
        priority=st.integers(0, 1), where=st.sampled_from([None, "a", "b"]), whole=st.booleans(),
        extra=st.sampled_from([0, 0, 2]),
    )  # fmt: skip
    def submit(self, prompt, limit, width, search, priority, where, whole, extra) -> None:
        row = Sequence(list(prompt), extra=extra)
        start = None if where is None else root(where, str(extra))
        group = Group(self.number, [row], priority, width, start, whole and where is None)
        if self.scheduler.fits(group, len(prompt) + limit) is None:
            self.scheduler.add(group)
            self.clients[self.number] = Client(group, limit, search=search)
            self.number += 1

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def abort(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.clients)))
        group = self.clients.pop(number).group
        self.scheduler.finish(group, State.ABORTED)
        assert not any(row.table for row in group.rows)

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def guess(self, data: st.DataObject) -> None:
        """A row that decodes by itself is fed guesses with its next token."""
        client = self.clients[data.draw(st.sampled_from(sorted(self.clients)))]
        row = client.group.rows[0]
        if client.group.state is State.RUNNING and len(client.group.rows) == 1 and row.behind == 1 and client.spread:
            room = client.limit - len(row.tokens) - 1
            row.drafts = data.draw(st.lists(st.integers(0, 1), max_size=min(3, room)))

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        self.once(lambda most: data.draw(st.integers(0, most)))

    def teardown(self) -> None:
        for _ in range(3000):
            if not self.clients:
                break
            self.once(lambda most: most // 2)
        assert not self.clients, "a request never ends"
        assert not self.blocks.used, "blocks leak"
        assert not self.scheduler.running
        assert not self.scheduler.waiting

    # ── a step as the engine makes it ────────────────────────────────────────────────────────────────────────────
    def once(self, draw) -> None:
        plan = self.scheduler.plan()
        lost, settled = self.scheduler.news()
        self.settled = (self.settled - set(lost)) | set(settled)
        self.check(plan)
        for source, target in plan.copies:
            assert target not in self.settled
            for offset in range(self.blocks.size):
                a, b = (block * self.blocks.size + offset for block in (source, target))
                self.memory[b] = self.memory.get(a)
        for piece in plan.pieces:
            self.feed(piece)
        for piece in plan.pieces:
            row, drafts = piece.row, list(piece.row.drafts)
            accepted = drafts[: draw(len(drafts))] if drafts else []
            row.tokens += accepted
            self.scheduler.done(piece)
            self.scheduler.shrink(row)
        fed = {id(piece.row) for piece in plan.pieces if piece.wanted}
        for number, client in list(self.clients.items()):
            if any(id(row) in fed for row in client.group.rows):
                (self.searched if client.search else self.said)(number, client, fed, draw)
        for client in self.clients.values():
            for row in client.group.rows if client.group.state is State.RUNNING else ():
                self.scheduler.settle(client.group, row)

    def said(self, number: int, client: Client, fed: set[int], draw) -> None:
        group = client.group
        while not client.spread and len(group.rows) < group.rows_wanted:
            group.rows.append(self.scheduler.fork(group.rows[0]))
            fed.add(id(group.rows[-1]))
        client.spread = True
        for row in [row for row in group.rows if id(row) in fed]:
            row.tokens.append(draw(1))
            if len(row.tokens) >= client.limit or draw(9) == 9:
                self.scheduler.release(row)
                group.rows.remove(row)
        if not group.rows:
            self.scheduler.finish(group)
            del self.clients[number]

    def searched(self, number: int, client: Client, fed: set[int], draw) -> None:
        group, old = client.group, client.group.rows
        client.spread = True
        assert all(id(row) in fed for row in old), "rows of a search are asked in one step"
        parents = [draw(len(old) - 1) for _ in range(group.rows_wanted)]
        taken = set[int]()
        group.rows = [self.scheduler.fork(old[p]) if p in taken or taken.add(p) else old[p] for p in parents]
        for place, row in enumerate(old):
            if place not in taken:
                self.scheduler.release(row)
        for row in group.rows:
            row.tokens.append(draw(1))
        if len(group.rows[0].tokens) >= client.limit:
            self.scheduler.finish(group)
            del self.clients[number]

    # ── what must hold ───────────────────────────────────────────────────────────────────────────────────────────
    def check(self, plan: Plan) -> None:
        assert plan.pieces or not self.clients, "there is work, and nothing is done"
        owner = {id(row): c.group for c in self.clients.values() for row in c.group.rows}
        assert len({id(piece.row) for piece in plan.pieces}) == len(plan.pieces)
        decoding = chunks = 0
        for row, start, stop, wanted in plan.pieces:
            group = owner[id(row)]
            assert group.state is State.RUNNING
            assert start == row.computed < stop <= row.known + len(row.drafts)
            assert wanted == (stop - row.known + 1 if stop >= row.known else 0)
            if row.known - start == 1:
                decoding += stop - start
            elif not group.whole:
                chunks += stop - start
        assert chunks <= max(0, self.scheduler.budget - decoding) or chunks <= 1
        for one in plan.preempted:
            if one.state is State.WAITING:
                assert all(owner[id(piece.row)].rank < one.rank for piece in plan.pieces)

    def feed(self, piece: Piece) -> None:
        """Writes what is fed, and reads all that it looks at."""
        row, size = piece.row, self.blocks.size
        start, stop = (row.slots(piece.start), row.slots(piece.stop))
        group = next(c.group for c in self.clients.values() if row in c.group.rows)
        for at in range(start, stop):
            block = row.table[at // size]
            assert block is not None
            assert block not in self.settled, "what will not change is written"
            assert self.blocks.uses[block] == 1, "what others use is written"
            self.memory[block * size + at % size] = self.text(group, row, at)
        window = self.scheduler.window
        seen = 0 if window is None else max(0, start - window + 1)
        for at in range(seen, stop):
            block = row.table[at // size]
            assert block is not None, "what is still looked at was forgotten"
            assert self.memory[block * size + at % size] == self.text(group, row, at)

    @staticmethod
    def text(group: Group, row: Sequence, at: int) -> object:
        return (group.root or group.number), row.extra, row.ids(0, max(0, at + 1 - row.extra)), at

    @invariant()
    def blocks_are_counted(self) -> None:
        uses = [0] * self.blocks.count
        for client in self.clients.values():
            for row in client.group.rows:
                assert not row.table or client.group.state is State.RUNNING
                assert len(row.table) * self.blocks.size >= row.slots(row.computed)
                for block in row.table:
                    if block is not None:
                        uses[block] += 1
        assert uses == self.blocks.uses
        rows = sum(
            max(c.group.rows_wanted, len(c.group.rows)) for c in self.clients.values() if c.group in self.running
        )
        assert rows <= self.scheduler.rows

    @property
    def running(self) -> list[Group]:
        return self.scheduler.running


TestScheduler = Machine.TestCase
TestScheduler.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, phases=PHASES)


@pytest.mark.parametrize(("budget", "rows"), [(0, 4), (4, 0)])
def test_an_engine_that_feeds_nothing_is_refused(budget: int, rows: int) -> None:
    with pytest.raises(ConfigError, match="a token and a row at least"):
        Scheduler(Blocks(4, 4), budget=budget, rows=rows)


def test_a_request_without_room_is_told_so_at_once() -> None:
    scheduler = Scheduler(Blocks(4, 4), rows=2)
    assert scheduler.fits(Group(0, [Sequence([1])]), 17) == "needs 5 blocks of 4 tokens, and the pool has 4"
    assert scheduler.fits(Group(0, [Sequence([1])], rows_wanted=3), 4) == (
        "wants 3 rows side by side, and the engine has 2"
    )
    assert scheduler.fits(Group(0, [Sequence([1])]), 16) is None


def test_a_window_makes_room_for_endless_texts() -> None:
    scheduler = Scheduler(Blocks(6, 4), budget=8, window=8)
    assert scheduler.fits(Group(0, [Sequence([1])]), 100_000) is None
    undivided = Group(0, [Sequence([1])], whole=True)
    assert scheduler.fits(undivided, 100) == "needs 25 blocks of 4 tokens, and the pool has 6"
