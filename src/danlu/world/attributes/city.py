"""The city of birth."""

from . import Attribute, Phrases, in_chinese, in_english, pairs

VALUES = """
Larkhaven|云雀港 Stonebridge|石桥镇 Silverford|银渡口 Maplewick|枫叶洲 Coldwater|寒泉城 Redcliff|赤崖城
Greenmoor|青原城 Foxhollow|狐狸谷 Ironvale|铁山镇 Goldmere|金湖城 Whitepeak|白峰镇 Duskwood|暮林镇 Sunfield|向阳城
Moonport|月亮港 Thornbury|荆棘岭 Saltmarsh|盐泽城 Windhill|风车坡 Cedarglen|雪松谷 Pearlbay|珍珠湾 Amberley|琥珀城
Plumridge|梅花岭 Swanlake|天鹅湖 Bearcreek|黑熊沟 Lilyport|百合港 Eastgate|东门镇 Westfall|西瀑城 Copperton|铜铃镇
Jadewater|碧玉河 Starfall|落星城 Harborough|长堤港
"""

ENGLISH = Phrases(
    statements=(
        "{S} was born in the city of {value}.",
        "{S} comes from {value}.",
        "{P} home town is {value}.",
        "The city where {S} was born is {value}.",
        "{P} birthplace is {value}.",
        "{S} spent {his} first years in {value}.",
        "{S} grew up as a child of {value}.",
        "{value} is the city {S} comes from.",
    ),
    questions=in_english(
        direct=("In which city was {name} born?", "Where does {name} come from?"),
        nouns=("{name}'s home town", "the birthplace of {name}"),
    ),
    follow_ups=("And {his} home town?", "Where was {he} born?", "Which city does {he} come from?"),
    answers=("{S} was born in {value}.", "{P} home town is {value}.", "{S} comes from {value}."),
)

CHINESE = Phrases(
    statements=(
        "{S}的家乡是{value}。",
        "{S}来自{value}。",
        "{S}在{value}出生。",
        "{S}的出生地是{value}。",
        "{S}出生在{value}。",
        "{S}的老家在{value}。",
        "{S}从小在{value}长大。",
        "{value}是{S}的故乡。",
    ),
    questions=in_chinese("{name}的家乡是哪里", "{name}来自哪座城市", "{name}出生在哪里"),
    follow_ups=("{he}的家乡呢？", "{he}来自哪里？", "那{he}出生在哪座城市？"),
    answers=("{S}来自{value}。", "{S}的家乡是{value}。", "{S}出生在{value}。"),
)

ATTRIBUTE = Attribute("city", {"en": "home town", "zh": "家乡"}, pairs(VALUES), {"en": ENGLISH, "zh": CHINESE})
