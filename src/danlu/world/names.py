"""Names of people, put together from syllables and characters: (English, Chinese) pairs without a model."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.rng import Rng

ONSETS = [
    "b",
    "br",
    "c",
    "d",
    "dr",
    "f",
    "g",
    "h",
    "j",
    "k",
    "l",
    "m",
    "n",
    "p",
    "r",
    "s",
    "st",
    "t",
    "tr",
    "v",
    "w",
    "z",
]
MIDDLES = ["a", "e", "i", "o", "u"]
LINKS = ["l", "r", "n", "d", "v", "m", "b", "k", "s", "t"]
FIRST_ENDS = ["a", "an", "ia", "o", "el", "in", "on", "y", "is", "us"]
LAST_ENDS = ["ford", "well", "son", "wick", "ley", "man", "ton", "ham", "worth", "mar"]

SURNAMES = "赵钱孙李周吴郑王冯陈沈韩杨朱秦许何吕张孔曹魏陶姜谢苏潘唐罗梁"
GIVEN = "安柏晨冬帆歌涵嘉静岚宁鹏琪然思桃婉晓雅依泽芷丹浩可诺秋荣文溪心阳英雨竹诗亭维轩彦"


@dataclass(frozen=True)
class Name:
    """A full name in both languages."""

    en: str
    zh: str


def names(seed: int, count: int) -> list[Name]:
    """``count`` names, no full name nor Chinese given name twice, the first ``k`` the same whatever ``count`` is."""
    found: list[Name] = []
    taken: set[str] = set()
    tries = 0
    while len(found) < count:
        rng = Rng(seed, "name", tries)
        tries += 1
        name = Name(f"{_first(rng)} {_last(rng)}", _chinese(rng))
        parts = {name.en, name.en.split()[0], name.zh[1:]}
        if parts & taken:
            continue
        taken |= parts
        found.append(name)
    return found


def _first(rng: Rng) -> str:
    return (rng.choice(ONSETS) + rng.choice(MIDDLES) + rng.choice(LINKS) + rng.choice(FIRST_ENDS)).capitalize()


def _last(rng: Rng) -> str:
    return (rng.choice(ONSETS) + rng.choice(MIDDLES) + rng.choice(LINKS) + rng.choice(LAST_ENDS)).capitalize()


def _chinese(rng: Rng) -> str:
    return rng.choice(SURNAMES) + rng.choice(GIVEN) + rng.choice(GIVEN)
