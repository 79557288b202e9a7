"""The favorite pastime."""

from . import Attribute, Phrases, in_chinese, in_english, pairs

VALUES = """
chess|下棋 fishing|钓鱼 knitting|织毛衣 painting|画画 hiking|远足 swimming|游泳 gardening|种花 cooking|做饭
singing|唱歌 dancing|跳舞 cycling|骑车 archery|射箭 pottery|做陶器 skating|滑冰 sailing|驾帆船 juggling|玩杂耍
birdwatching|观鸟 stargazing|看星星 calligraphy|练书法 origami|折纸 surfing|冲浪 fencing|击剑 camping|露营
running|跑步 climbing|攀岩 puppetry|演木偶戏 beekeeping|养蜜蜂 kite flying|放风筝 stamp collecting|集邮
table tennis|打乒乓球
"""

ENGLISH = Phrases(
    statements=(
        "{S} likes {value} best.",
        "{P} hobby is {value}.",
        "{S} is fond of {value}.",
        "{P} favorite pastime is {value}.",
        "In {his} free time {S} enjoys {value}.",
        "{S} has {value} as a hobby.",
        "{S} spends whole weekends on {value}.",
        "The pastime of {name} is {value}.",
    ),
    questions=in_english(
        direct=("What does {name} like best?", "Which hobby does {name} have?"),
        nouns=("{name}'s hobby", "the favorite pastime of {name}"),
    ),
    follow_ups=("And {his} hobby?", "What does {he} like best?", "What is {his} favorite pastime?"),
    answers=("{P} hobby is {value}.", "{S} likes {value} best.", "{P} favorite pastime is {value}."),
)

CHINESE = Phrases(
    statements=(
        "{S}的爱好是{value}。",
        "{S}最喜欢{value}。",
        "{S}空闲时爱{value}。",
        "{S}业余时间喜欢{value}。",
        "{S}对{value}很着迷。",
        "{S}的消遣是{value}。",
        "{S}一到周末就{value}。",
        "{value}是{S}的爱好。",
    ),
    questions=in_chinese("{name}的爱好是什么", "{name}最喜欢做什么", "{name}空闲时爱做什么"),
    follow_ups=("{he}的爱好呢？", "{he}最喜欢做什么？", "那{he}有什么爱好？"),
    answers=("{S}的爱好是{value}。", "{S}最喜欢{value}。", "{S}空闲时爱{value}。"),
)

ATTRIBUTE = Attribute("hobby", {"en": "hobby", "zh": "爱好"}, pairs(VALUES), {"en": ENGLISH, "zh": CHINESE})
