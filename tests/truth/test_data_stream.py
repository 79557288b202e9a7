"""Batches against an independent reading of the same documents; shares, epochs and resumption to the row."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from data_tokenizer import make_tokenizer

from danlu.core.batch import IGNORE, Batch
from danlu.core.errors import CheckpointError, ConfigError, DataError
from danlu.data import DataRecipe, HeldOut, Pack, Prepared, Source, build, once, stream
from danlu.tokenize import Tokenizer

LENGTH = 48


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    texts = [{"text": f"the quick fox {i} " + "word " * (i % 7)} for i in range(300)]
    chats = [{"prompt": f"why {i}", "response": "so " * (1 + i % 5)} for i in range(200)]
    for name, rows in {"texts.jsonl": texts, "chats.jsonl": chats}.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "book.txt").write_text("".join(f"line {i} of the book\n" for i in range(1200)))
    return folder


def prepared(folder: Path, tokenizer: Tokenizer, shares: dict[str, float | None], **settings: Any) -> Prepared:
    parts = [Source(from_=str(folder / name), share=share) for name, share in shares.items()]
    pack = Pack(length=LENGTH, **settings)
    return build(DataRecipe(parts=parts, pack=pack, cache=str(folder / "cache")), tokenizer, quiet=True)


def same(a: Batch, b: Batch) -> bool:
    names = ("tokens", "targets", "weight", "segment", "position")
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in names)


def documents(batch: Batch, row: int) -> list[tuple[int, ...]]:
    """A row's documents: inputs, and the last target."""
    found = []
    for segment in range(1, int(batch.segment[row].max()) + 1):
        place = (batch.segment[row] == segment).nonzero().flatten()
        last = int(batch.targets[row, place[-1]])
        found.append((*batch.tokens[row, place].tolist(), last))
    return found


def test_a_row_is_its_documents(files: Path, tokenizer: Tokenizer) -> None:
    made = prepared(files, tokenizer, {"texts.jsonl": None, "chats.jsonl": None})
    wanted = Counter()
    for line in (files / "texts.jsonl").read_text().splitlines():
        wanted[(*tokenizer.encode(json.loads(line)["text"]), tokenizer.eos)] += 1
    chats = Counter()
    weights = {}
    for line in (files / "chats.jsonl").read_text().splitlines():
        row = json.loads(line)
        messages = [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["response"]}]
        rendered = tokenizer.template.render(messages)
        chats[tuple(rendered.tokens[:-1])] += 1
        weights[tuple(rendered.tokens[:-1])] = rendered.weights
    found = Counter()
    for batch in once(made.train, rows=4, length=LENGTH):
        assert batch.tokens.dtype == batch.targets.dtype == torch.int64
        assert batch.weight.dtype == torch.float32
        for row in range(len(batch)):
            for document in documents(batch, row):
                if document[-1] == IGNORE:  # a chat ends in a line break that is not counted
                    document = document[:-1]
                    place = _place(batch, row, document)
                    assert batch.weight[row, place].tolist() == weights[document][1:]
                    counted = batch.weight[row, place] > 0
                    assert torch.equal(batch.targets[row, place] != IGNORE, counted)
                found[document] += 1
    assert found == wanted + chats
    assert 0 < made.train.rows == sum(len(b) for b in once(made.train, rows=4, length=LENGTH))


def _place(batch: Batch, row: int, document: tuple[int, ...]) -> torch.Tensor:
    for segment in range(1, int(batch.segment[row].max()) + 1):
        place = (batch.segment[row] == segment).nonzero().flatten()
        if tuple(batch.tokens[row, place].tolist()) == document:
            return place
    raise AssertionError("the document is not in the row")


def test_an_epoch_shows_every_row_once_and_the_next_in_another_order(files: Path, tokenizer: Tokenizer) -> None:
    made = prepared(files, tokenizer, {"texts.jsonl": None, "chats.jsonl": None})
    feed = stream(made.train, rows=1, length=LENGTH, seed=3)
    epochs = [[tuple(feed.next().tokens[0].tolist()) for _ in range(made.train.rows)] for _ in range(2)]
    every = Counter(tuple(b.tokens[0].tolist()) for b in once(made.train, rows=1, length=LENGTH))
    assert Counter(epochs[0]) == Counter(epochs[1]) == every
    assert epochs[0] != epochs[1]
    other = stream(made.train, rows=1, length=LENGTH, seed=4)
    assert epochs[0] != [tuple(other.next().tokens[0].tolist()) for _ in range(made.train.rows)]


@pytest.mark.parametrize("rows", ["packed", "windows"])
def test_shares_are_exact_in_tokens(files: Path, tokenizer: Tokenizer, rows: str) -> None:
    made = prepared(files, tokenizer, {"texts.jsonl": 1.0, "chats.jsonl": 3.0, "book.txt": 6.0}, rows=rows)
    feed = stream(made.train, rows=5, length=LENGTH, seed=0)
    given = Counter()
    for batch in itertools.islice(feed, 120):
        for row, places in enumerate(feed.places()):
            given[Path(places[0].rpartition(":")[0]).name] += int((batch.segment[row] > 0).sum())
        total = sum(given.values())
        for name, share in {"texts.jsonl": 0.1, "chats.jsonl": 0.3, "book.txt": 0.6}.items():
            assert abs(given[name] - share * total) <= 2 * LENGTH


@pytest.mark.parametrize("rows", ["packed", "windows"])
@pytest.mark.parametrize("shares", [{"texts.jsonl": None, "book.txt": None}, {"texts.jsonl": 1.0, "book.txt": 2.0}])
def test_restored_anywhere_it_goes_on_bit_for_bit(
    files: Path, tokenizer: Tokenizer, rows: str, shares: dict[str, float | None]
) -> None:
    made = prepared(files, tokenizer, shares, rows=rows)
    feed = stream(made.train, rows=7, length=LENGTH, seed=1)
    steps = 3 * made.train.rows // 7
    states, batches = [], []
    for batch in itertools.islice(feed, steps):
        batches.append(batch)
        states.append(json.loads(json.dumps(feed.state())))
    for at in range(0, steps - 2, max(1, steps // 12)):
        again = stream(made.train, rows=7, length=LENGTH, seed=1)
        again.restore(states[at])
        assert same(again.next(), batches[at + 1])
        assert same(again.next(), batches[at + 2])


def test_the_rows_do_not_depend_on_how_many_make_a_batch(files: Path, tokenizer: Tokenizer) -> None:
    made = prepared(files, tokenizer, {"texts.jsonl": 1.0, "chats.jsonl": 1.0})
    one, four = (stream(made.train, rows=n, length=LENGTH, seed=2) for n in (1, 4))
    for batch in itertools.islice(four, 10):
        for row in range(4):
            assert same(one.next(), batch[row : row + 1])
    four.restore(one.state())
    assert same(four.next()[0:1], one.next())


def test_a_state_of_other_data_is_refused(files: Path, tokenizer: Tokenizer) -> None:
    made = prepared(files, tokenizer, {"texts.jsonl": None})
    state = stream(made.train, rows=1, length=LENGTH, seed=0).state()
    other = prepared(files, tokenizer, {"chats.jsonl": None})
    with pytest.raises(CheckpointError, match="another stock"):
        stream(other.train, rows=1, length=LENGTH, seed=0).restore(state)
    with pytest.raises(CheckpointError, match="another seed"):
        stream(made.train, rows=1, length=LENGTH, seed=9).restore(state)


def test_windows_are_the_joined_text(files: Path, tokenizer: Tokenizer) -> None:
    made = prepared(files, tokenizer, {"book.txt": None}, rows="windows")
    joined = torch.tensor([*tokenizer.encode((files / "book.txt").read_text()), tokenizer.eos])
    tokens, targets = [], []
    for batch in once(made.train, rows=3, length=LENGTH):
        used = batch.segment > 0
        assert (batch.weight == used.float()).all()
        assert (batch.segment[used] == 1).all()
        tokens.append(batch.tokens[used])
        targets.append(batch.targets[used])
    assert torch.equal(torch.cat(tokens), joined[:-1])
    assert torch.equal(torch.cat(targets), joined[1:])


def test_windows_begin_elsewhere_each_epoch(files: Path, tokenizer: Tokenizer) -> None:
    made = prepared(files, tokenizer, {"book.txt": None}, rows="windows")
    joined = tokenizer.encode((files / "book.txt").read_text())
    text = "," + ",".join(map(str, [*joined, tokenizer.eos])) + ","
    feed = stream(made.train, rows=1, length=LENGTH, seed=0)
    offsets: dict[int, set[int]] = {}
    while feed.epoch < 4:
        epoch, batch = feed.epoch, feed.next()
        row = [*batch.tokens[0].tolist(), int(batch.targets[0, -1])]
        place = text.find("," + ",".join(map(str, row)) + ",")
        assert place >= 0
        assert torch.equal(batch.position[0], torch.arange(LENGTH))
        offsets.setdefault(epoch, set()).add(text[:place].count(",") % LENGTH)
    assert all(len(found) == 1 for found in offsets.values())
    assert len(set.union(*offsets.values())) == 4


def test_a_text_shorter_than_a_window(tmp_path: Path, tokenizer: Tokenizer) -> None:
    (tmp_path / "a.txt").write_text("short")
    made = prepared(tmp_path, tokenizer, {"a.txt": None}, rows="windows")
    batch = stream(made.train, rows=2, length=LENGTH, seed=0).next()
    wanted = [*tokenizer.encode("short"), tokenizer.eos]
    for row in range(2):
        assert batch.tokens[row, : len(wanted) - 1].tolist() == wanted[:-1]
        assert batch.targets[row, : len(wanted) - 1].tolist() == wanted[1:]
        assert (batch.targets[row, len(wanted) - 1 :] == IGNORE).all()


def test_places_name_the_rows_of_the_latest_batch(files: Path, tokenizer: Tokenizer) -> None:
    made = prepared(files, tokenizer, {"texts.jsonl": None})
    lines = (files / "texts.jsonl").read_text().splitlines()
    feed = stream(made.train, rows=3, length=LENGTH, seed=0)
    batch = feed.next()
    for row, places in enumerate(feed.places()):
        texts = [tokenizer.decode(list(document)) for document in documents(batch, row)]
        assert texts == [json.loads(lines[int(place.rpartition(":")[2]) - 1])["text"] for place in places]


def test_a_shorter_length_than_built_is_refused_and_a_longer_one_packs_anew(files: Path, tokenizer: Tokenizer) -> None:
    made = prepared(files, tokenizer, {"texts.jsonl": None})
    with pytest.raises(ConfigError, match="ask for the length the data was built with"):
        stream(made.train, rows=1, length=8, seed=0)
    assert made.train.rows_at(4 * LENGTH) < made.train.rows


def test_some_shares_and_some_not() -> None:
    with pytest.raises(ConfigError, match="give one to all or to none"):
        DataRecipe(parts=[Source(from_="a", share=1), Source(from_="b")])


def test_nothing_to_train_on(tmp_path: Path, tokenizer: Tokenizer) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "word " * 500}) + "\n")
    with pytest.raises(DataError, match="nothing is left to train on"):
        prepared(tmp_path, tokenizer, {"a.jsonl": None}, too_long="drop_row")


def test_text_and_chat_in_one_mixture_count_as_each_should(files: Path, tokenizer: Tokenizer) -> None:
    made = prepared(files, tokenizer, {"texts.jsonl": 1.0, "chats.jsonl": 1.0})
    feed = stream(made.train, rows=1, length=LENGTH, seed=0)
    kinds = set()
    for batch in itertools.islice(feed, 40):
        text = "texts" in feed.places()[0][0]
        kinds.add(text)
        used = batch.segment > 0
        assert bool((batch.weight[used] == 1).all()) == text
    assert kinds == {True, False}


def test_held_out_batches_are_none_without_held_out_rows(files: Path, tokenizer: Tokenizer) -> None:
    made = prepared(files, tokenizer, {"texts.jsonl": None})
    assert list(once(made.held_out, rows=2, length=LENGTH)) == []
    assert made.report["held_out"]["rows"] == 0
    assert HeldOut().share == 0
