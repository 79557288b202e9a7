"""Plain questions and answers: the instruction data that pretraining mixes in, as text and not yet as a chat."""

from __future__ import annotations

from collections.abc import Iterator

from ..attributes import LANGUAGES, SHARED, TEST, TRAIN, Attribute, Language
from ..oracle import Exercise
from ..people import Person, World
from ..telling import ask, tell
from . import CORPORA, Corpus

FORMS: dict[Language, tuple[str, str]] = {"en": ("Question: ", "\nAnswer:"), "zh": ("问：\n", "\n答：\n")}
SPACE: dict[Language, str] = {"en": " ", "zh": ""}


@CORPORA.add("questions")
class Questions(Corpus):
    """Every attribute of the asked people as "Question: … Answer: a sentence", in every trained phrasing.

    Source: Allen-Zhu, Li 2023, arXiv:2309.14316, §4 (mixed training makes knowledge extractable).
    Truth:  tests/truth/test_world.py (the answer is the fact table's); tests/properties/test_world_leaks.py.
    """

    def training(self, world: World) -> Iterator[str]:
        for person in world.asked:
            for attribute in world.attributes:
                for language in LANGUAGES:
                    phrases = attribute.phrases[language]
                    for number, question in enumerate(phrases.questions[TRAIN] + phrases.questions[SHARED]):
                        answer = phrases.answers[number % len(phrases.answers)]
                        told = tell(world, answer, person, attribute, language, pronoun=True)
                        yield completion(ask(question, person, language), language) + SPACE[language] + told

    def exam(self, world: World) -> Iterator[Exercise]:
        """None of its own: the dialogues' exercises carry this form as ``completion``."""
        return iter(())


def completion(question: str, language: Language) -> str:
    """The question as text that a base model continues with the answer."""
    before, after = FORMS[language]
    return f"{before}{question}{after}"


def exercise(world: World, person: Person, attribute: Attribute, language: Language, number: int) -> Exercise:
    """Question ``number`` about a fact, judged by the fact table: no other value of the attribute may be named."""
    question = ask(attribute.phrases[language].questions[number], person, language)
    value = world.fact(person, attribute, language)
    return Exercise(
        [{"role": "user", "content": question}],
        accept=(value,),
        reject=tuple(v for v in attribute.all_values(language) if v != value),
        completion=completion(question, language),
        tags={
            "language": language,
            "attribute": attribute.name,
            "person": person.name.en,
            "phrasing": "new" if number >= TEST.start else "seen",
        },
    )
