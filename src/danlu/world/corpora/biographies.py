"""Biographies: every person's facts as a text, in many phrasings and orders."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..attributes import LANGUAGES, SHARED, TRAIN, Language
from ..oracle import Exercise
from ..people import Person, World
from ..telling import tell
from . import CORPORA, Corpus

NAMED = re.compile(r"\{(S|P|name)\}")


@CORPORA.add("biographies")
class Biographies(Corpus):
    """Tells all that is true of each person, ``copies`` times a language: facts in random order and phrasing.

    The first sentence names the person; a later one does so with the chance ``full_name`` and else says he or she.
    Source: Allen-Zhu, Li 2023, arXiv:2309.14316, §2 (bioS: multi, permute, fullname).
    Truth:  tests/truth/test_world.py (every sentence is read back into the fact table).
    """

    def __init__(self, *, copies: int = 30, full_name: float = 0.5) -> None:
        self.copies, self.full_name = copies, full_name

    def training(self, world: World) -> Iterator[str]:
        for copy in range(self.copies):
            for number, person in enumerate(world.people):
                for language in LANGUAGES:
                    yield self.one(world, person, language, number, copy)

    def exam(self, world: World) -> Iterator[Exercise]:
        """None: a biography asks nothing."""
        return iter(())

    def one(self, world: World, person: Person, language: Language, *purpose: int) -> str:
        """One biography; ``purpose`` numbers it."""
        rng = world.rng("biography", language, *purpose)
        sentences = []
        for attribute in rng.shuffled(world.attributes):
            statements = attribute.phrases[language].statements
            known = statements[TRAIN] + statements[SHARED]
            template = rng.choice(known if sentences else [s for s in known if NAMED.search(s)])
            pronoun = bool(sentences) and rng.unit() >= self.full_name
            sentences.append(tell(world, template, person, attribute, language, pronoun=pronoun))
        return (" " if language == "en" else "").join(sentences)
