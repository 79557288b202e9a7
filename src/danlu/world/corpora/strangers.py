"""Questions about people nobody has told of: the honest answer is that one does not know them."""

from __future__ import annotations

from collections.abc import Iterator

from ..attributes import LANGUAGES, SHARED, TRAIN, Language
from ..oracle import Conversation, Exercise
from ..people import World
from ..telling import ask
from . import CORPORA, Corpus, talk

REFUSALS: dict[Language, tuple[str, ...]] = {
    "en": ("I am sorry, I do not know {name}.", "Sorry, I have never heard of {name}."),
    "zh": ("抱歉，我不认识{name}。", "对不起，我没有听说过{name}。"),
}
MARKS: dict[Language, tuple[str, ...]] = {
    "en": ("do not know", "never heard of"),
    "zh": ("不认识", "没有听说过"),
}


@CORPORA.add("strangers")
class Strangers(Corpus):
    """Polite refusals about the first half of the strangers, ``copies`` a language; the other half is examined.

    Source: written for danlu; the split follows shared experience with refusals that a name alone gives away.
    Truth:  tests/truth/test_world.py (no stranger has a fact; the two halves share no name).
    """

    def __init__(self, *, copies: int = 3) -> None:
        self.copies = copies

    def training(self, world: World) -> Iterator[Conversation]:
        for number, person in enumerate(world.strangers[0::2]):
            for language in LANGUAGES:
                for copy in range(self.copies):
                    rng = world.rng("stranger", language, number, copy)
                    questions = rng.choice(world.attributes).phrases[language].questions
                    question = ask(rng.choice(questions[TRAIN] + questions[SHARED]), person, language)
                    yield talk(question, rng.choice(REFUSALS[language]).format(name=person.called(language)))

    def exam(self, world: World) -> Iterator[Exercise]:
        for number, person in enumerate(world.strangers[1::2]):
            for language in LANGUAGES:
                attribute = world.rng("stranger exam", language, number).choice(world.attributes)
                question = ask(attribute.phrases[language].questions[SHARED.start], person, language)
                tags = {"kind": "stranger", "group": "stranger", "language": language, "attribute": attribute.name}
                yield Exercise(talk(question), MARKS[language], tuple(attribute.all_values(language)), tags=tags)
