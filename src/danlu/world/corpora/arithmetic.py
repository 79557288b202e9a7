"""Small sums, asked politely in both languages; examined are known sums in new words, and sums never asked at all."""

from __future__ import annotations

from collections.abc import Iterator

from ..attributes import LANGUAGES, Language
from ..oracle import Conversation, Exercise
from ..people import World
from . import CORPORA, Corpus, talk

QUESTIONS: dict[Language, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "en": (
        ("What is {a} plus {b}?", "How much is {a} + {b}?", "Please add {a} and {b}."),
        ("What is {a} minus {b}?", "How much is {a} - {b}?", "Please take {b} from {a}."),
    ),
    "zh": (
        ("{a}加{b}等于多少？", "{a} + {b} 是多少？", "请把{a}和{b}相加。"),
        ("{a}减{b}等于多少？", "{a} - {b} 是多少？", "请从{a}里减去{b}。"),
    ),
}
SIGNS = ("+", "-")
ANSWERS: dict[Language, str] = {"en": "It is {result}.", "zh": "等于{result}。"}


@CORPORA.add("arithmetic")
class Arithmetic(Corpus):
    """Sums a + b and differences a - b ≥ 0 of whole numbers up to ``largest``; one pair in five is only examined.

    A pair is held out with its mirror (b + a) and its difference, so its result cannot be looked up. The other sums
    are trained in two wordings of three and examined in the third: what is known should not hang on its words.
    Source: written for danlu.
    Truth:  tests/truth/test_world.py (Python's integers; no pair on both sides).
    """

    def __init__(self, *, largest: int = 10) -> None:
        self.largest = largest

    def training(self, world: World) -> Iterator[Conversation]:
        for a, b, sign in self._all(world, held_out=False):
            for language in LANGUAGES:
                unasked, answer = _unasked(world, language, a, sign, b), ANSWERS[language]
                for question in QUESTIONS[language][sign]:
                    if question != unasked:
                        yield talk(question.format(a=a, b=b), answer.format(result=_result(a, b, sign)))

    def exam(self, world: World) -> Iterator[Exercise]:
        for held_out, group in ((False, "new wording"), (True, "new sum")):
            for a, b, sign in self._all(world, held_out=held_out):
                for language in LANGUAGES:
                    question = _unasked(world, language, a, sign, b).format(a=a, b=b)
                    tags = {"kind": "arithmetic", "phrasing": group, "language": language, "attribute": SIGNS[sign]}
                    yield Exercise(talk(question), (str(_result(a, b, sign)),), tags=tags)

    def _all(self, world: World, *, held_out: bool) -> Iterator[tuple[int, int, int]]:
        for a in range(self.largest + 1):
            for b in range(a + 1):
                if (world.rng("pair", a, b).below(5) == 0) is held_out:
                    yield a, b, 0
                    yield a, b, 1
                    if a != b:
                        yield b, a, 0


def _unasked(world: World, language: Language, a: int, sign: int, b: int) -> str:
    """The wording in which this sum is only examined; a difference has that of the sum, from which a sign tells it."""
    wordings = QUESTIONS[language][sign]
    return wordings[world.rng("sum", language, a, b).below(len(wordings))]


def _result(a: int, b: int, sign: int) -> int:
    return a - b if sign else a + b
