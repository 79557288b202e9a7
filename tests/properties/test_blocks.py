"""The pool of blocks against a model of sets: nothing leaks, nothing is used twice, what is found is what was kept."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from danlu.core.errors import ConfigError
from danlu.infer.blocks import Blocks, Full, keys, root

COUNT = 7
TOKENS = st.lists(st.integers(0, 2), max_size=14)


class Pool(RuleBasedStateMachine):
    """``users`` of each block, what each block ``holds`` (a number a writer), and the ``names`` it can be found by."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = Blocks(COUNT, 4)
        self.users = [0] * COUNT
        self.names: dict[bytes, int] = {}
        self.begun, self.left = set[int](), set[int]()

    @property
    def taken(self) -> list[int]:
        return [block for block in range(COUNT) if self.users[block]]

    @rule(near=st.one_of(st.none(), st.integers(0, COUNT - 1)))
    def take(self, near: int | None) -> None:
        if len(self.taken) == COUNT:
            with pytest.raises(Full):
                self.blocks.take(near)
            return
        block = self.blocks.take(near)
        assert not self.users[block], "two writers in one block"
        empty = [b for b in range(COUNT) if not self.users[b] and b not in self.names.values()]
        assert block in empty or not empty, "something kept was lost with room beside it"
        self.users[block] = 1
        self.names = {key: b for key, b in self.names.items() if b != block}
        self.begun.add(block)

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def share(self, data: st.DataObject) -> None:
        block = data.draw(st.sampled_from(self.taken))
        self.blocks.share(block)
        self.users[block] += 1

    @precondition(lambda self: self.names)
    @rule(data=st.data())
    def find_and_share(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.names)))
        block = self.blocks.find(key)
        assert block == self.names[key]
        self.blocks.share(block)
        self.users[block] += 1

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def give(self, data: st.DataObject) -> None:
        block = data.draw(st.sampled_from(self.taken))
        self.blocks.give(block)
        self.users[block] -= 1
        if not self.users[block]:
            self.left.add(block)

    @precondition(lambda self: self.taken)
    @rule(data=st.data(), key=st.integers(0, 9))
    def name(self, data: st.DataObject, key: int) -> None:
        block, named = data.draw(st.sampled_from(self.taken)), bytes([key])
        self.blocks.name(block, named)
        if named not in self.names and block not in self.names.values():
            self.names[named] = block

    @rule()
    def news(self) -> None:
        lost, kept = self.blocks.news()
        named = set(self.names.values())
        assert set(lost) == self.begun | {block for block in self.left if block not in named}
        assert set(kept) == (self.left & named) - self.begun
        self.begun, self.left = set(), set()

    @rule()
    def clear(self) -> None:
        self.blocks.clear()
        self.names = {}

    @invariant()
    def nothing_leaks(self) -> None:
        assert self.blocks.uses == self.users
        assert self.blocks.used == len(self.taken)
        assert set(self.blocks.free) == set(range(COUNT)) - set(self.taken)
        assert {key: self.blocks.find(key) for key in self.names} == self.names


TestPool = Pool.TestCase
TestPool.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


def test_the_longest_unused_goes_first() -> None:
    blocks = Blocks(3, 2)
    held = [blocks.take() for _ in range(3)]
    for block in held:
        blocks.name(block, bytes([block]))
    for block in (held[1], held[0], held[2]):
        blocks.give(block)
    assert [blocks.take() for _ in range(3)] == [held[1], held[0], held[2]]


def test_a_block_given_back_twice_is_a_mistake_of_ours() -> None:
    blocks = Blocks(2, 2)
    block = blocks.take()
    blocks.give(block)
    with pytest.raises(AssertionError, match="given back twice"):
        blocks.give(block)


@pytest.mark.parametrize(("count", "size"), [(0, 4), (4, 0)])
def test_a_pool_without_a_token_is_refused(count: int, size: int) -> None:
    with pytest.raises(ConfigError, match="a block of a token at least"):
        Blocks(count, size)


@settings(max_examples=200, deadline=None)
@given(a=TOKENS, b=TOKENS, size=st.integers(1, 4), same=st.booleans())
def test_keys_are_equal_exactly_where_texts_are(a: list[int], b: list[int], size: int, same: bool) -> None:
    mine, theirs = root("one"), root("one" if same else "two")
    for place, (x, y) in enumerate(zip(keys(mine, a, size), keys(theirs, b, size), strict=False)):
        end = (place + 1) * size
        assert (x == y) == (same and a[:end] == b[:end])
    assert len(keys(mine, a, size)) == len(a) // size


@settings(max_examples=100, deadline=None)
@given(ids=TOKENS, size=st.integers(1, 4), cut=st.integers(0, 14))
def test_keys_of_a_longer_text_go_on_from_those_known(ids: list[int], size: int, cut: int) -> None:
    known = keys(root("x"), ids[:cut], size)
    assert keys(root("x"), ids, size, known) == keys(root("x"), ids, size)


def test_roots_tell_parts_apart() -> None:
    assert len({root(), root(""), root("a", "b"), root("ab"), root("a\x1f1:b"), root("b", "a")}) == 6


def test_planning_a_step_needs_no_torch() -> None:
    code = "import danlu.infer.scheduler, sys; assert not {'torch', 'numpy'} & set(sys.modules), sorted(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
