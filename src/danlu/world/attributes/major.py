"""The subject studied."""

from . import Attribute, Phrases, in_chinese, in_english, pairs

VALUES = """
physics|物理学 chemistry|化学 botany|植物学 history|历史学 linguistics|语言学 philosophy|哲学 economics|经济学
geology|地质学 astronomy|天文学 mathematics|数学 statistics|统计学 sociology|社会学 psychology|心理学 law|法学
medicine|医学 architecture|建筑学 music|音乐 drama|戏剧学 journalism|新闻学 geography|地理学 zoology|动物学
ecology|生态学 anthropology|人类学 archaeology|考古学 optics|光学 robotics|机器人学 education|教育学 pharmacy|药学
theology|神学 acoustics|声学
"""

ENGLISH = Phrases(
    statements=(
        "{S} studied the subject of {value}.",
        "{P} major was {value}.",
        "{S} holds a degree in {value}.",
        "The subject of {his} studies was {value}.",
        "{S} majored in {value}.",
        "{P} field of study is {value}.",
        "{S} devoted {his} studies to {value}.",
        "At university {S} read {value}.",
    ),
    questions=in_english(
        direct=("What did {name} major in?", "Which subject did {name} study?"),
        nouns=("{name}'s major", "the major subject of {name}"),
    ),
    follow_ups=("And {his} major?", "What did {he} major in?", "Which subject did {he} study?"),
    answers=("{S} majored in {value}.", "{P} major was {value}.", "{S} studied {value}."),
)

CHINESE = Phrases(
    statements=(
        "{S}的专业是{value}。",
        "{S}主修{value}。",
        "{S}学的是{value}专业。",
        "{S}拿的是{value}学位。",
        "{S}在大学里主修{value}。",
        "{S}读的专业是{value}。",
        "{S}大学时研读{value}。",
        "{value}是{S}所学的专业。",
    ),
    questions=in_chinese("{name}的专业是什么", "{name}主修什么", "{name}学的是什么专业"),
    follow_ups=("{he}的专业呢？", "{he}主修什么？", "那{he}学的是什么专业？"),
    answers=("{S}的专业是{value}。", "{S}主修{value}。", "{S}学的是{value}专业。"),
)

ATTRIBUTE = Attribute("major", {"en": "major", "zh": "专业"}, pairs(VALUES), {"en": ENGLISH, "zh": CHINESE})
