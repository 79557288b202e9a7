"""Dialogues about people, of several turns in which he, she and her refer to earlier ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ...core.rng import Rng
from ..attributes import LANGUAGES, SHARED, TRAIN, Attribute, Language
from ..oracle import Conversation, Exercise
from ..people import Person, World
from ..telling import ask, tell
from . import CORPORA, Corpus, talk
from .questions import exercise


@CORPORA.add("dialogues")
class Dialogues(Corpus):
    """``chats`` conversations a language about each of the asked people; they begin by name and go on by pronoun.

    "Where does Mira Dolford come from?" … "And her job?" / "她的职业呢？", up to ``longest`` questions; the answers are
    whole sentences about her or him.

    Source: written for danlu; the split by person follows Allen-Zhu, Li 2023, arXiv:2309.14316, §4.
    Truth:  tests/truth/test_world.py (state machine over the turns; answers from the fact table).
    """

    def __init__(self, *, chats: int = 12, longest: int = 4) -> None:
        self.chats, self.longest = chats, longest

    def training(self, world: World) -> Iterator[Conversation]:
        for number, person in enumerate(world.asked):
            for language in LANGUAGES:
                for chat in range(self.chats):
                    yield self._chat(world, world.rng("chat", language, number, chat), person, language)

    def exam(self, world: World) -> Iterator[Exercise]:
        """Follow-ups about people whose questions are never trained."""
        for number, person in enumerate(world.unasked):
            for language in LANGUAGES:
                for attribute in world.attributes:
                    yield self._follow_up(world, number, person, attribute, language)

    def _first(
        self, world: World, rng: Rng, person: Person, attribute: Attribute, language: Language
    ) -> tuple[str, str]:
        phrases = attribute.phrases[language]
        question = rng.choice(phrases.questions[TRAIN] + phrases.questions[SHARED])
        answer = tell(world, rng.choice(phrases.answers), person, attribute, language, pronoun=True)
        return ask(question, person, language), answer

    def _chat(self, world: World, rng: Rng, person: Person, language: Language) -> Conversation:
        length = 2 + rng.below(self.longest - 1)
        first, *rest = rng.sample(world.attributes, length)
        turns = list(self._first(world, rng, person, first, language))
        for attribute in rest:
            phrases = attribute.phrases[language]
            turns.append(ask(rng.choice(phrases.follow_ups), person, language))
            turns.append(tell(world, rng.choice(phrases.answers), person, attribute, language, pronoun=True))
        return talk(*turns)

    def _follow_up(
        self, world: World, number: int, person: Person, attribute: Attribute, language: Language
    ) -> Exercise:
        """A question by pronoun after a right answer about another attribute of the same person."""
        rng = world.rng("follow-up", language, number, attribute.name)
        before = rng.choice([a for a in world.attributes if a is not attribute])
        turns = self._first(world, rng, person, before, language)
        question = ask(rng.choice(attribute.phrases[language].follow_ups), person, language)
        one = exercise(world, person, attribute, language, SHARED.start)
        return replace(one, messages=talk(*turns, question), tags={**one.tags, "kind": "follow-up"})
