"""The occupation."""

from . import Attribute, Phrases, in_chinese, in_english, pairs

VALUES = """
nurse|护士 engineer|工程师 teacher|教师 lawyer|律师 chef|厨师 pilot|飞行员 carpenter|木匠 translator|翻译
accountant|会计 gardener|园丁 librarian|图书管理员 photographer|摄影师 electrician|电工 plumber|水管工 dentist|牙医
editor|编辑 tailor|裁缝 driver|司机 surgeon|外科大夫 designer|设计师 baker|面包师 mechanic|修理工 reporter|记者
secretary|秘书 painter|画家 welder|焊工 cashier|收银员 guard|保安 broker|经纪人 inspector|检查员
"""

ENGLISH = Phrases(
    statements=(
        "{S} works as {a} {value}.",
        "{P} job is that of {a} {value}.",
        "{S} is {a} {value} by trade.",
        "{P} occupation is {value}.",
        "{S} makes a career as {a} {value}.",
        "{P} profession is {value}.",
        "{S} earns money as {a} {value}.",
        "By profession {S} is {a} {value}.",
    ),
    questions=in_english(
        direct=("What does {name} work as?", "Which profession does {name} have?"),
        nouns=("{name}'s job", "the occupation of {name}"),
    ),
    follow_ups=("And {his} job?", "What does {he} work as?", "What is {his} occupation?"),
    answers=("{S} works as {a} {value}.", "{P} job is that of {a} {value}.", "{P} occupation is {value}."),
)

CHINESE = Phrases(
    statements=(
        "{S}的职业是{value}。",
        "{S}做{value}这一行。",
        "{S}是一名{value}。",
        "{S}以{value}为业。",
        "{S}的工作是{value}。",
        "{S}当{value}谋生。",
        "{S}从事{value}的行当。",
        "{value}是{S}的职业。",
    ),
    questions=in_chinese("{name}的职业是什么", "{name}做什么工作", "{name}是做哪一行的"),
    follow_ups=("{he}的职业呢？", "{he}做什么工作？", "那{he}从事哪一行？"),
    answers=("{S}的职业是{value}。", "{S}是一名{value}。", "{S}的工作是{value}。"),
)

ATTRIBUTE = Attribute("job", {"en": "job", "zh": "职业"}, pairs(VALUES), {"en": ENGLISH, "zh": CHINESE})
