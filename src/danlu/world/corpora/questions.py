"""Single questions and answers: the instruction data that pretraining mixes in among the biographies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..attributes import LANGUAGES, SHARED, TEST, TRAIN, Attribute, Language
from ..oracle import Conversation, Exercise
from ..people import Person, World
from ..telling import ask, tell
from . import CORPORA, Corpus, talk


@CORPORA.add("questions")
class Questions(Corpus):
    """Every attribute of the asked people in every trained phrasing, answered by a sentence about her or him.

    The answer does not repeat the name: that would only train the names of those who are asked about.

    Source: Allen-Zhu, Li 2023, arXiv:2309.14316, §4 (mixed training makes knowledge extractable).
    Truth:  tests/truth/test_world.py (the answer is the fact table's); tests/properties/test_world_leaks.py.
    """

    def training(self, world: World) -> Iterator[Conversation]:
        return self.about(world, world.asked)

    def about(self, world: World, people: Iterable[Person]) -> Iterator[Conversation]:
        """The same about any people: about those never asked, what a held-out loss is measured on."""
        for person in people:
            for attribute in world.attributes:
                for language in LANGUAGES:
                    phrases = attribute.phrases[language]
                    for number, question in enumerate(phrases.questions[TRAIN] + phrases.questions[SHARED]):
                        answer = phrases.answers[number % len(phrases.answers)]
                        told = tell(world, answer, person, attribute, language, pronoun=True)
                        yield talk(ask(question, person, language), told)

    def exam(self, world: World) -> Iterator[Exercise]:
        """Questions about people whose questions are never trained, in seen and in new phrasings."""
        for person in world.unasked:
            for language in LANGUAGES:
                for attribute in world.attributes:
                    for number in range(SHARED.start, TEST.stop):
                        yield exercise(world, person, attribute, language, number)


def exercise(world: World, person: Person, attribute: Attribute, language: Language, number: int) -> Exercise:
    """Question ``number`` about a fact, judged by the fact table: no other value of the attribute may be named."""
    value = world.fact(person, attribute, language)
    return Exercise(
        talk(ask(attribute.phrases[language].questions[number], person, language)),
        accept=(value,),
        reject=tuple(v for v in attribute.all_values(language) if v != value),
        tags={
            "kind": "fact",
            "group": "unasked",
            "language": language,
            "attribute": attribute.name,
            "person": person.name.en,
            "phrasing": "new" if number >= TEST.start else "seen",
        },
    )
