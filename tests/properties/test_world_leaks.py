"""No test question occurs in training, however it is phrased; and the check finds a leak when there is one."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest

from danlu.world import World, world
from danlu.world.corpora import CORPORA, Document, talk
from danlu.world.corpora.strangers import Strangers

PUNCTUATION = re.compile(r"[\W_]+")


def texts(document: Document) -> list[str]:
    return [document] if isinstance(document, str) else [m["content"] for m in document]


def plain(text: str) -> str:
    """Paraphrase-normalized: no capitals, punctuation or spaces."""
    return PUNCTUATION.sub("", text.casefold())


def asks(text: str) -> bool:
    return bool(re.search(r"[?？]|Question:|问：|Please|请", text))


def leaks(found: World, documents: Iterable[Document]) -> list[str]:
    """Training questions about people whose questions are examined, and examined questions found anywhere."""
    secret = [n for p in (*found.unasked, *found.strangers[1::2]) for n in (p.name.en, p.name.zh)]
    examined = {plain(e.messages[-1]["content"]) for name in CORPORA for e in CORPORA[name]().exam(found)
                if e.tags["kind"] != "follow-up"}  # fmt: skip
    return [
        text
        for document in documents
        for text in texts(document)
        if (asks(text) and any(name in text for name in secret)) or plain(text) in examined
    ]


@pytest.fixture(scope="module")
def found() -> World:
    return world(0, people=40, strangers=20)


@pytest.mark.parametrize("name", list(CORPORA))
def test_no_examined_question_is_trained(found: World, name: str) -> None:
    documents = list(CORPORA[name]().training(found))
    assert documents
    assert leaks(found, documents) == []


@pytest.mark.parametrize("name", list(CORPORA))
def test_a_document_is_one_of_two_kinds_and_a_corpus_is_deterministic(found: World, name: str) -> None:
    first, second = list(CORPORA[name]().training(found)), list(CORPORA[name]().training(found))
    assert first == second
    assert len({type(d) for d in first}) == 1
    assert list(CORPORA[name]().exam(found)) == list(CORPORA[name]().exam(found))
    for document in first:
        assert all(t == t.strip() and t for t in texts(document))


@pytest.mark.parametrize("name", list(CORPORA))
def test_nobody_examined_as_a_stranger_is_ever_told_of(found: World, name: str) -> None:
    names = [n for p in found.strangers[1::2] for n in (p.name.en, p.name.zh)]
    assert not [t for d in CORPORA[name]().training(found) for t in texts(d) if any(n in t for n in names)]


def test_a_planted_leak_is_found(found: World) -> None:
    person, stranger = found.unasked[3], next(iter(Strangers().exam(found)))
    planted: list[Document] = [
        talk(f"请问{person.name.zh}的爱好是什么？", "不知道。"),
        f"Question: what IS {person.name.en}'s hobby\nAnswer: chess",
        stranger.messages[0]["content"].upper() + "!!",
        f"{person.name.en} likes chess best.",  # a biography may say so
    ]
    assert len(leaks(found, planted)) == 3
