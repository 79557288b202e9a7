"""A phrasing and a person become a sentence: subjects, possessives, pronouns and articles of both languages."""

from __future__ import annotations

from .attributes import Attribute, Language
from .people import Person, World

PRONOUNS = {True: ("she", "her", "她"), False: ("he", "his", "他")}  # by whether the person is a woman


def tell(
    world: World, template: str, person: Person, attribute: Attribute, language: Language, *, pronoun: bool = False
) -> str:
    """A statement or answer of the template; ``pronoun`` names the person by he or she."""
    value = world.fact(person, attribute, language)
    return template.format(**_slots(template, person, language, pronoun), value=value, a=_article(value))


def ask(template: str, person: Person, language: Language) -> str:
    """A question of the template: by name (``{name}``) or by pronoun (``{he}``, ``{his}``), as it is written."""
    return template.format(**_slots(template, person, language, pronoun=False))


def _slots(template: str, person: Person, language: Language, pronoun: bool) -> dict[str, str]:
    he, his, ta = PRONOUNS[person.woman]
    name = person.called(language)
    if language == "zh":
        return {"name": name, "S": ta if pronoun else name, "he": ta}
    subject, possessive = (he, his) if pronoun else (name, f"{name}'s")
    if pronoun and template.startswith(("{S}", "{P}")):
        subject, possessive = subject.capitalize(), possessive.capitalize()
    return {"name": name, "S": subject, "P": possessive, "he": he, "his": his}


def _article(value: str) -> str:
    return "an" if value[0] in "aeiou" else "a"
