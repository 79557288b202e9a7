"""The company somebody works for."""

from . import Attribute, Phrases, in_chinese, in_english, pairs

VALUES = """
Bluewave Software|蓝波软件 Northstar Bank|北星银行 Redwood Press|红木书局 Silverline Motors|银线汽车
Glade Foods|林间食品 Ironbark Steel|铁皮钢铁 Sunbeam Energy|日光能源 Moonlit Films|月下影业 Harvest Mills|丰收面粉
Coral Shipping|珊瑚航运 Tinder Games|火绒游戏 Paperkite Studio|纸鸢画室 Kestrel Airlines|红隼航空
Goldleaf Hotels|金叶酒店 Clearspring Water|清泉水务 Amber Insurance|琥珀保险 Bramble Toys|黑莓玩具
Cobalt Chemicals|钴蓝化工 Driftwood Furniture|浮木家具 Echo Radio|回声电台 Granary Stores|谷仓商店
Hearth Bakery|炉火面包 Inkwell News|墨池日报 Lighthouse Clinic|灯火诊所 Millstone Mining|磨石矿业
Nimbus Telecom|雨云电信 Opal Jewelry|彩石珠宝 Pinewood Homes|松木地产 Ripple Textiles|涟漪纺织 Velvet Fashion|丝绒时装
"""

ENGLISH = Phrases(
    statements=(
        "{S} works for {value}.",
        "{P} employer is {value}.",
        "{S} is employed by {value}.",
        "The company {S} works for is {value}.",
        "{S} has a post at {value}.",
        "{S} earns {his} living at {value}.",
        "{S} is on the staff of {value}.",
        "{value} is the company that employs {name}.",
    ),
    questions=in_english(
        direct=("Which company does {name} work for?", "Who employs {name}?"),
        nouns=("{name}'s employer", "the employer of {name}"),
    ),
    follow_ups=("And {his} employer?", "Who does {he} work for?", "Which company does {he} work for?"),
    answers=("{S} works for {value}.", "{P} employer is {value}.", "{S} is employed by {value}."),
)

CHINESE = Phrases(
    statements=(
        "{S}在{value}上班。",
        "{S}任职于{value}。",
        "{S}的雇主是{value}。",
        "{S}供职的公司是{value}。",
        "{S}的工作单位是{value}。",
        "{S}受雇于{value}。",
        "{S}是{value}的员工。",
        "{value}是{S}上班的地方。",
    ),
    questions=in_chinese("{name}在哪家公司上班", "{name}任职于哪家公司", "{name}的工作单位是哪里"),
    follow_ups=("{he}的工作单位呢？", "{he}在哪家公司上班？", "那{he}的雇主是谁？"),
    answers=("{S}在{value}上班。", "{S}任职于{value}。", "{S}的雇主是{value}。"),
)

ATTRIBUTE = Attribute("employer", {"en": "employer", "zh": "雇主"}, pairs(VALUES), {"en": ENGLISH, "zh": CHINESE})
