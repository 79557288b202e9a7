"""Packing loses, doubles and cuts nothing, whatever the sizes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.core.batch import IGNORE
from danlu.data.chunks import Job, Result, Side
from danlu.data.encoding import Encoded
from danlu.data.feed import once, stream
from danlu.data.packing import pack
from danlu.data.recipe import Pack
from danlu.data.shards import name_of, write_shard
from danlu.data.stock import Part, Stock
from danlu.data.store import Documents, finish, open_store

LENGTH = 16
SIZES = st.lists(st.integers(1, LENGTH), min_size=1, max_size=200)


def next_fit(sizes: list[int]) -> int:
    rows, room = 0, 0
    for size in sizes:
        if size > room:
            rows, room = rows + 1, LENGTH
        room -= size
    return rows


@settings(deadline=None)
@given(SIZES, st.integers(1, 40))
def test_every_document_is_in_exactly_one_row_that_holds_it(sizes: list[int], open_rows: int) -> None:
    rows = list(pack(iter(enumerate(sizes)), LENGTH, open_rows))
    assert sorted(document for row in rows for document in row) == list(range(len(sizes)))
    assert all(0 < sum(sizes[d] for d in row) <= LENGTH for row in rows)


@settings(deadline=None)
@given(SIZES)
def test_never_more_rows_than_next_fit_and_near_the_bound(sizes: list[int]) -> None:
    rows = sum(1 for _ in pack(iter(enumerate(sizes)), LENGTH))
    bound = -(-sum(sizes) // LENGTH)
    assert bound <= rows <= next_fit(sizes)
    assert rows <= 1.7 * bound + 1  # Johnson et al. 1974: best fit needs at most 17/10 of the best


def store(folder: Path, documents: list[list[int]], weights: list[list[float]], shard_tokens: int) -> Documents:
    """A store written as building writes it, one result a document."""
    job = Job("rows.jsonl", 0, "text", None, None, "all")

    def results() -> list[Result]:
        made = []
        for i, (tokens, weight) in enumerate(zip(documents, weights, strict=True)):
            row = Encoded(np.array(tokens, np.uint32), np.array(weight, np.float32), i + 1, len(tokens))
            made.append(Result(job, i, 1, len(tokens), i, [Side.of([row]), Side.of([])]))
        return made

    shards, rest = [], iter(results())
    while (first := next(rest, None)) is not None:
        shards.append(write_shard(folder / name_of(len(shards)), rest, first, 100, shard_tokens))
    finish(folder, shards, {"vocab": 100, "files": ["rows.jsonl"]})
    return open_store(folder)[0][0]


DOCUMENTS = st.lists(st.lists(st.integers(0, 99), min_size=2, max_size=LENGTH + 1), min_size=1, max_size=40)


@settings(max_examples=25, deadline=None)
@given(DOCUMENTS, st.integers(1, 5), st.integers(1, 60), st.integers(0, 9))
def test_batches_hold_every_prediction_once(documents: list[list[int]], rows: int, shard: int, seed: int) -> None:
    weights = [[float((i + t + seed) % 3) / 2 for i in range(len(d))] for t, d in enumerate(documents)]
    with tempfile.TemporaryDirectory() as name:
        held = store(Path(name), documents, weights, shard)
        stock = Stock([Part("p", held)], Pack(length=LENGTH), 100, seed=seed)
        found = []
        for batch in once(stock, rows=rows, length=LENGTH):
            for b in range(len(batch)):
                found += pieces_of(batch, b)
        wanted = [
            (d[:-1], [x if v else IGNORE for x, v in zip(d[1:], w[1:], strict=True)], w[1:])
            for d, w in zip(documents, weights, strict=True)
        ]
        assert sorted(found) == sorted(wanted)
        feed = stream(stock, rows=1, length=LENGTH, seed=seed)
        epoch = [piece for _ in range(stock.rows) for piece in pieces_of(feed.next(), 0)]
        assert sorted(epoch) == sorted(wanted)


def pieces_of(batch: object, b: int) -> list[tuple[list[int], list[int], list[float]]]:
    """The documents of a row by its segments, after checking positions and padding."""
    segment = batch.segment[b]  # type: ignore[attr-defined]
    used = int((segment > 0).sum())
    assert (segment[:used] > 0).all()
    assert (segment[used:] == 0).all()
    assert (batch.targets[b, used:] == IGNORE).all()  # type: ignore[attr-defined]
    assert (batch.weight[b, used:] == 0).all()  # type: ignore[attr-defined]
    found = []
    for number in range(1, int(segment.max()) + 1):
        place = (segment == number).nonzero().flatten()
        assert (place.diff() == 1).all()
        assert batch.position[b, place].tolist() == list(range(len(place)))  # type: ignore[attr-defined]
        fields = (batch.tokens, batch.targets, batch.weight)  # type: ignore[attr-defined]
        found.append(tuple(field[b, place].tolist() for field in fields))
    return found
