"""The fact table: who there is and what is true of them; everything else is told from it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..core.errors import ConfigError
from ..core.rng import Rng
from .attributes import Attribute, Language, attributes
from .names import Name, names

MOST = 1000  # people: Chinese given names without repetition run out not far above


@dataclass(frozen=True)
class Person:
    """Somebody with a name in both languages; a stranger has no facts."""

    name: Name
    woman: bool
    facts: dict[str, int] = field(default_factory=dict)

    def called(self, language: Language) -> str:
        return self.name.en if language == "en" else self.name.zh


@dataclass(frozen=True)
class World:
    """People in three groups, split once and for both languages, and the facts about them.

    ``asked``: questions about them are trained.  ``unasked``: only their biographies are.  ``strangers``: nothing is
    told about them; the first half of them may be asked about in training, to learn to say so.
    """

    seed: int
    asked: tuple[Person, ...]
    unasked: tuple[Person, ...]
    strangers: tuple[Person, ...]
    attributes: tuple[Attribute, ...]

    @property
    def people(self) -> tuple[Person, ...]:
        """All who have facts."""
        return self.asked + self.unasked

    def fact(self, person: Person, attribute: Attribute, language: Language) -> str:
        """What is true: the oracle of every answer."""
        return attribute.value(person.facts[attribute.name], language)

    def rng(self, *purpose: object) -> Rng:
        """A stream of its own for each purpose, so that a new kind of text changes no other."""
        return Rng(self.seed, "world", *purpose)


def world(seed: int = 0, *, people: int = 80, strangers: int = 60) -> World:
    """The world of a seed. A person's facts depend on the seed and the person's number alone.

    Raises: ConfigError if there are too few people to split or more than there are names.
    """
    if people < 2 or strangers < 2 or people + strangers > MOST:
        raise ConfigError(f"a world has 2 people, 2 strangers and at most {MOST} in all, not {people} and {strangers}")
    known = attributes()
    called = names(seed, people + strangers)
    all_ = [_person(seed, i, name, known) for i, name in enumerate(called[:people])]
    unknown = [Person(name, woman=Rng(seed, "stranger", i).below(2) == 0) for i, name in enumerate(called[people:])]
    return World(seed, tuple(all_[0::2]), tuple(all_[1::2]), tuple(unknown), known)


def _person(seed: int, number: int, name: Name, known: tuple[Attribute, ...]) -> Person:
    facts = {a.name: Rng(seed, "fact", number, a.name).below(len(a.values)) for a in known}
    return Person(name, woman=Rng(seed, "woman", number).below(2) == 0, facts=facts)
