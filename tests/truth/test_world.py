"""The world against its own fact table, read back by means that share no code with the telling."""

from __future__ import annotations

import re

import pytest

from danlu.core.errors import ConfigError
from danlu.world import Exercise, Person, World, right, world
from danlu.world.attributes import LANGUAGES, SHARED, TRAIN, Attribute, Language
from danlu.world.corpora.arithmetic import Arithmetic
from danlu.world.corpora.biographies import Biographies
from danlu.world.corpora.dialogues import Dialogues
from danlu.world.corpora.questions import Questions
from danlu.world.corpora.small_talk import MANNERS, SmallTalk
from danlu.world.corpora.strangers import MARKS, Strangers
from danlu.world.telling import ask, tell


@pytest.fixture(scope="module")
def small() -> World:
    return world(3, people=12, strangers=6)


def named(found: World, text: str, language: Language) -> list[Person]:
    return [p for p in found.people + found.strangers if p.called(language) in text]


def values_in(attribute: Attribute, text: str, language: Language) -> list[str]:
    """Values standing alone in the text, found by scanning for each of them."""
    edge = r"\b" if language == "en" else ""
    return [v for v in attribute.all_values(language) if re.search(edge + re.escape(v) + edge, text)]


def test_facts_depend_on_the_seed_and_the_number_alone() -> None:
    few, many = world(5, people=6), world(5, people=40)
    facts = {p.name: (p.facts, p.woman) for p in many.people}
    assert all(facts[p.name] == (p.facts, p.woman) for p in few.people)
    assert world(5).people == world(5).people
    assert world(6).people != world(5).people


def test_groups_are_disjoint_and_strangers_have_no_facts(small: World) -> None:
    for language in LANGUAGES:
        called = [p.called(language) for p in small.asked + small.unasked + small.strangers]
        assert len(set(called)) == len(called) == 18
        assert not [(a, b) for a in called for b in called if a != b and a in b]
    assert len(small.asked) == len(small.unasked) == 6
    assert not any(p.facts for p in small.strangers)
    assert all(set(p.facts) == {a.name for a in small.attributes} for p in small.people)


def test_too_small_or_too_large_a_world_is_refused() -> None:
    for people in (1, 5000):
        with pytest.raises(ConfigError):
            world(0, people=people)


@pytest.mark.parametrize("language", LANGUAGES)
def test_values_are_distinct_and_none_hides_in_another(small: World, language: Language) -> None:
    for attribute in small.attributes:
        values = attribute.all_values(language)
        assert len(set(values)) == len(values) >= 30
        assert all(values_in(attribute, v, language) == [v] for v in values), attribute.name


@pytest.mark.parametrize("language", LANGUAGES)
def test_phrasings_are_distinct_and_each_holds_what_it_needs(small: World, language: Language) -> None:
    for attribute in small.attributes:
        phrases = attribute.phrases[language]
        everything = phrases.statements + phrases.questions
        assert len(set(everything)) == len(everything)
        assert all("{value}" in s for s in phrases.statements + phrases.answers)
        assert all("{name}" in q and "{value}" not in q for q in phrases.questions)
        assert all(re.search(r"\{(he|his)\}", q) and "{name}" not in q for q in phrases.follow_ups)


def test_telling_worked_by_hand(small: World) -> None:
    job = next(a for a in small.attributes if a.name == "job")
    woman = Person(small.people[0].name, True, {"job": job.all_values("en").index("editor")})
    name = woman.name.en
    assert tell(small, "{S} works as {a} {value}.", woman, job, "en") == f"{name} works as an editor."
    assert tell(small, "{P} occupation is {value}.", woman, job, "en", pronoun=True) == "Her occupation is editor."
    assert tell(small, "By trade {S} is {a} {value}.", woman, job, "en", pronoun=True) == "By trade she is an editor."
    assert tell(small, "{S}的职业是{value}。", woman, job, "zh", pronoun=True) == "她的职业是编辑。"
    assert ask("And {his} job?", woman, "en") == "And her job?"
    assert ask("{name}是谁？", woman, "zh") == f"{woman.name.zh}是谁？"


def test_biographies_read_back_give_the_fact_table(small: World) -> None:
    for person in small.people:
        for language in LANGUAGES:
            text = Biographies().one(small, person, language, 0, 1)
            sentences = re.split(r"(?<=\.) " if language == "en" else r"(?<=。)", text.strip())
            assert person.called(language) in sentences[0]
            assert named(small, text, language) == [person]
            told = {a.name: values_in(a, text, language) for a in small.attributes}
            assert told == {a.name: [a.value(person.facts[a.name], language)] for a in small.attributes}
            wrong = {"en": {True: r"\b(he|his)\b", False: r"\b(she|her)\b"}, "zh": {True: "他", False: "她"}}
            assert not re.search(wrong[language][person.woman], text, re.IGNORECASE)


def test_biographies_come_in_many_orders_and_phrasings(small: World) -> None:
    person = small.people[0]
    texts = [Biographies().one(small, person, "en", 0, copy) for copy in range(40)]
    city = next(a for a in small.attributes if a.name == "city")
    places = {t.index(city.value(person.facts["city"], "en")) * 7 // len(t) for t in texts}
    assert len(set(texts)) == 40
    assert len(places) >= 5, "the fact moves through the text"


def test_single_questions_are_answered_by_the_fact_table(small: World) -> None:
    documents = list(Questions().training(small))
    assert len(documents) == 6 * len(small.attributes) * 2 * 6
    for question, answer in ([m["content"] for m in chat] for chat in documents):
        language: Language = "en" if question.isascii() else "zh"
        (person,) = named(small, question, language)
        assert person in small.asked
        about = [a for a in small.attributes if _asks(a, question, person, language)]
        told = {a.name: values_in(a, answer, language) for a in small.attributes}
        assert {n: v for n, v in told.items() if v} == {a.name: [small.fact(person, a, language)] for a in about}


def _asks(attribute: Attribute, question: str, person: Person, language: Language) -> bool:
    questions = attribute.phrases[language].questions
    return question.replace(person.called(language), "{name}") in questions[TRAIN] + questions[SHARED]


def test_every_turn_of_a_dialogue_answers_its_question(small: World) -> None:
    """A state machine: the person is set by the first turn, each answer holds the one value that was asked for."""
    lengths = set()
    for chat in Dialogues().training(small):
        turns = [m["content"] for m in chat]
        assert [m["role"] for m in chat] == ["user", "assistant"] * (len(chat) // 2)
        language: Language = "en" if turns[0].isascii() else "zh"
        (person,) = named(small, turns[0], language)
        lengths.add(len(turns) // 2)
        for question, answer in zip(turns[::2], turns[1::2], strict=True):
            told = {a.name: values_in(a, answer, language) for a in small.attributes}
            ((attribute, values),) = [(a, v) for a, v in told.items() if v]
            known = next(a for a in small.attributes if a.name == attribute)
            assert values == [small.fact(person, known, language)]
            follow = [ask(f, person, language) for f in known.phrases[language].follow_ups]
            assert question in follow or _asks(known, question, person, language)
    assert lengths == {2, 3, 4}


def test_exercises_ask_only_the_unasked_and_hold_the_right_answer(small: World) -> None:
    exercises = [*Questions().exam(small), *Dialogues().exam(small)]
    assert {e.tags["phrasing"] for e in exercises} == {"seen", "new"}
    for e in exercises:
        language: Language = e.tags["language"]  # type: ignore[assignment]
        (person,) = named(small, e.messages[0]["content"], language)
        assert person in small.unasked
        attribute = next(a for a in small.attributes if a.name == e.tags["attribute"])
        assert e.accept == (small.fact(person, attribute, language),)
        assert set(e.reject) == set(attribute.all_values(language)) - set(e.accept)
        assert e.messages[-1]["role"] == "user"


def test_strangers_are_refused_and_the_halves_share_nobody(small: World) -> None:
    trained = {p.name for c in Strangers().training(small) for p in _both(small, c[0]["content"])}
    asked = {p.name for e in Strangers().exam(small) for p in _both(small, e.messages[0]["content"])}
    assert trained
    assert asked
    assert not trained & asked
    assert trained | asked == {p.name for p in small.strangers}
    marks = MARKS["en"] + MARKS["zh"]
    assert all(any(m in c[1]["content"] for m in marks) for c in Strangers().training(small))


def _both(found: World, text: str) -> list[Person]:
    return named(found, text, "en") + named(found, text, "zh")


def test_sums_are_right_and_no_pair_is_on_both_sides(small: World) -> None:
    minus = re.compile(r"minus|减| - |[Tt]ake")
    trained, questions = set(), set()
    asked: dict[str, set[frozenset[int]]] = {"new wording": set(), "new sum": set()}
    for chat in Arithmetic().training(small):
        question, answer = (m["content"] for m in chat)
        numbers = [int(n) for n in re.findall(r"\d+", question)]
        a, b = reversed(numbers) if question.startswith("Please take") else numbers
        (result,) = map(int, re.findall(r"\d+", answer))
        assert result == (a - b if minus.search(question) else a + b) >= 0
        trained.add(frozenset(numbers))
        questions.add(question)
    for e in Arithmetic().exam(small):
        question = e.messages[0]["content"]
        a, b = sorted(map(int, re.findall(r"\d+", question)), reverse=True)
        assert e.accept == (str(a + b if e.tags["attribute"] == "+" else a - b),)
        assert question not in questions
        asked[e.tags["phrasing"]].add(frozenset((a, b)))
    assert len(trained) + len(asked["new sum"]) == 11 * 12 // 2
    assert asked["new wording"] == trained
    assert not trained & asked["new sum"]


def test_small_talk_is_examined_in_phrasings_never_trained(small: World) -> None:
    trained = {c[0]["content"] for c in SmallTalk().training(small)}
    exam: list[Exercise] = list(SmallTalk().exam(small))
    assert len(exam) == sum(len(m) for m in MANNERS.values())
    assert not trained & {e.messages[0]["content"] for e in exam}
    answers = {language: [m.answer for m in MANNERS[language]] for language in LANGUAGES}
    assert all(len(set(a)) == len(a) for a in answers.values())


@pytest.mark.parametrize(
    ("answer", "accept", "reject", "verdict"),
    [
        ("She was born in Larkhaven.", ["Larkhaven"], ["Redcliff"], True),
        ("She was born in larkhaven", ["Larkhaven"], [], True),
        ("Larkhaven or Redcliff.", ["Larkhaven"], ["Redcliff"], False),
        ("Nobody knows.", ["Larkhaven"], [], False),
        ("", ["Larkhaven"], [], False),
        ("5 + 7 = 12", ["= 12"], [], True),
        ("5 + 7 = 112", ["= 12"], [], False),
        ("5 + 7 = 120", ["= 12"], [], False),
        ("in 1984.", ["1984"], ["1985"], True),
        ("in 19845", ["1984"], [], False),
        ("a lawyer", ["law"], [], False),
        ("她来自云雀港。", ["云雀港"], ["石桥镇"], True),
        ("她出生于1954年。", ["1954"], ["1955"], True),
        ("她来自云雀港和石桥镇。", ["云雀港"], ["石桥镇"], False),
        ("生物化学", ["生物化学"], ["化学"], True),
    ],
)
def test_the_judge(answer: str, accept: list[str], reject: list[str], verdict: bool) -> None:
    assert right(answer, accept, reject) is verdict
