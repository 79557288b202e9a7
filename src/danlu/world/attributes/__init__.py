"""What people have: one file an attribute, with its values and how it is told and asked in both languages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")

TRAIN, SHARED, TEST = slice(0, 4), slice(4, 6), slice(6, 8)  # which phrasings are only trained, both, only tested


@dataclass(frozen=True)
class Phrases:
    """Eight statements and eight questions (four only trained, two shared, two only tested), follow-ups, answers.

    ``{S}`` is the subject ("Mira Dolford", "She"; 林小青、她), ``{P}`` its possessive, ``{his}`` the possessive pronoun
    inside a sentence, ``{he}`` the pronoun, ``{name}`` always the full name, ``{value}`` the fact, ``{a}`` a or an.
    """

    statements: tuple[str, ...]
    questions: tuple[str, ...]
    follow_ups: tuple[str, ...]
    answers: tuple[str, ...]

    def __post_init__(self) -> None:
        assert len(self.statements) == len(self.questions) == TEST.stop, "eight statements and eight questions"


@dataclass(frozen=True)
class Attribute:
    """A function from people to ``values``, which are pairs (English, Chinese)."""

    name: str
    title: dict[Language, str]
    values: tuple[tuple[str, str], ...]
    phrases: dict[Language, Phrases]

    def value(self, index: int, language: Language) -> str:
        return self.values[index][LANGUAGES.index(language)]

    def all_values(self, language: Language) -> list[str]:
        return [pair[LANGUAGES.index(language)] for pair in self.values]


def pairs(table: str) -> tuple[tuple[str, str], ...]:
    """(English, Chinese) of every entry ``two words|汉字``: the Chinese side holds no space and so ends the entry."""
    entries: list[tuple[str, str]] = []
    words: list[str] = []
    for word in table.split():
        english, bar, chinese = word.partition("|")
        words.append(english)
        if bar:
            entries.append((" ".join(words), chinese))
            words = []
    return tuple(entries)


def in_english(*, direct: tuple[str, str], nouns: tuple[str, str]) -> tuple[str, ...]:
    """Eight questions of two direct ones and two nouns: the tested phrasings join what is trained apart."""
    return (
        direct[0],
        f"What is {nouns[0]}?",
        f"Do you know {nouns[1]}?",
        f"Please tell me {nouns[0]}.",
        direct[1],
        f"What is {nouns[1]}?",
        f"Please tell me {nouns[1]}.",
        f"Do you know {nouns[0]}?",
    )


def in_chinese(first: str, second: str, third: str) -> tuple[str, ...]:
    """Eight questions of three; the tested phrasings join what is trained apart."""
    return (
        f"{first}？",
        f"请问{second}？",
        f"你知道{third}吗？",
        f"能告诉我{first}吗？",
        f"{second}？",
        f"{third}？",
        f"请问{third}？",
        f"你知道{second}吗？",
    )


def attributes() -> tuple[Attribute, ...]:
    """Every attribute; a new one is appended, so that the facts drawn before it stay as they are."""
    from . import birth_year, city, employer, hobby, job, major, university

    return tuple(m.ATTRIBUTE for m in (birth_year, city, university, major, employer, job, hobby))
