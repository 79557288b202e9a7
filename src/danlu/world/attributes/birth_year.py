"""The year of birth, 1950 to 1999."""

from . import Attribute, Phrases, in_chinese, in_english

ENGLISH = Phrases(
    statements=(
        "{S} was born in the year {value}.",
        "{P} birth year is {value}.",
        "{S} came into the world in {value}.",
        "The year of {his} birth was {value}.",
        "{P} year of birth is {value}.",
        "{S} has been alive since {value}.",
        "{S} first saw the light of day in {value}.",
        "The birth of {name} took place in {value}.",
    ),
    questions=in_english(
        direct=("In which year was {name} born?", "When was {name} born?"),
        nouns=("{name}'s birth year", "the year of birth of {name}"),
    ),
    follow_ups=("And {his} birth year?", "When was {he} born?", "In which year was {he} born?"),
    answers=("{S} was born in {value}.", "{P} birth year is {value}.", "{S} was born in the year {value}."),
)

CHINESE = Phrases(
    statements=(
        "{S}出生于{value}年。",
        "{S}的出生年份是{value}年。",
        "{S}是{value}年出生的。",
        "{S}生于{value}年。",
        "{S}在{value}年来到人世。",
        "{S}的生年是{value}年。",
        "{value}年，{S}出生了。",
        "{S}诞生于{value}年。",
    ),
    questions=in_chinese("{name}是哪一年出生的", "{name}的出生年份是什么", "{name}生于哪一年"),
    follow_ups=("{he}的出生年份呢？", "{he}是哪一年出生的？", "那{he}生于哪一年？"),
    answers=("{S}出生于{value}年。", "{S}是{value}年出生的。", "{S}的出生年份是{value}年。"),
)

ATTRIBUTE = Attribute(
    "birth_year",
    {"en": "birth year", "zh": "出生年份"},
    tuple((str(year), str(year)) for year in range(1950, 2000)),
    {"en": ENGLISH, "zh": CHINESE},
)
