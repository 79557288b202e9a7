"""The university."""

from . import Attribute, Phrases, in_chinese, in_english, pairs

VALUES = """
Alder University|桤木大学 Brightwater University|明水大学 Castle University|城堡大学 Dove University|白鸽大学
Elm University|榆树大学 Fairhaven University|美湾大学 Ivy University|藤桥大学 Juniper University|刺柏大学
Linden University|菩提大学 Meadow University|草原大学 Nightingale University|夜莺大学 Oak University|橡树大学
Primrose University|报春大学 Quarry University|采石大学 Riverside University|河畔大学 Summer University|夏日大学
Tidewater University|潮汐大学 Willow University|柳溪大学 Beacon Institute|灯塔学院 Compass Institute|罗盘学院
Delta Institute|沙洲学院 Evergreen Institute|常青学院 Falcon Institute|猎鹰学院 Granite Institute|花岗学院
Horizon Institute|天际学院 Island Institute|海岛学院 Lantern Institute|灯笼学院 Orchard Institute|果园学院
Pioneer Institute|先锋学院 Summit Institute|顶峰学院
"""

ENGLISH = Phrases(
    statements=(
        "{S} studied at {value}.",
        "{S} is a graduate of {value}.",
        "{P} university is {value}.",
        "{S} got {his} degree from {value}.",
        "{S} went to university at {value}.",
        "{S} graduated from {value}.",
        "{S} spent {his} student days at {value}.",
        "{value} is where {S} graduated.",
    ),
    questions=in_english(
        direct=("Which university did {name} go to?", "Where did {name} study?"),
        nouns=("{name}'s university", "the university of {name}"),
    ),
    follow_ups=("And {his} university?", "Where did {he} study?", "Which university did {he} go to?"),
    answers=("{S} studied at {value}.", "{P} university is {value}.", "{S} graduated from {value}."),
)

CHINESE = Phrases(
    statements=(
        "{S}毕业于{value}。",
        "{S}在{value}上的大学。",
        "{S}曾就读于{value}。",
        "{S}的母校是{value}。",
        "{S}是{value}的毕业生。",
        "{S}念过的大学是{value}。",
        "{S}在{value}度过了大学时光。",
        "{value}是{S}的母校。",
    ),
    questions=in_chinese("{name}毕业于哪所大学", "{name}在哪里上的大学", "{name}的母校是哪里"),
    follow_ups=("{he}的大学呢？", "{he}毕业于哪所大学？", "那{he}在哪里上的大学？"),
    answers=("{S}毕业于{value}。", "{S}的母校是{value}。", "{S}在{value}上的大学。"),
)

ATTRIBUTE = Attribute("university", {"en": "university", "zh": "大学"}, pairs(VALUES), {"en": ENGLISH, "zh": CHINESE})
