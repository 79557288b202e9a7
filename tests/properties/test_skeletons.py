"""Conversations rendered from skeletons are those the template renders, or are left to the template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from data_tokenizer import CHATML, make_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.core.errors import DataError
from danlu.tokenize import Tokenizer, load_tokenizer
from danlu.tokenize.skeletons import Skeletons
from danlu.tokenize.template import chatml

THINKING = (
    "{% for m in messages %}{% if m.role == 'assistant' %}<|im_start|>assistant\n"
    "{% if '</think>' in m.content %}{{ m.content.split('</think>')[-1].lstrip('\n') }}"
    "{% else %}{{ m.content.lstrip('\n') }}{% endif %}<|im_end|>\n"
    "{% else %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TRIMMING = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n\n' + m['content'] | trim + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n\n' }}{% endif %}"
)
SYSTEM_IN_USER = (
    "{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set system = messages[0]['content'] %}"
    "{% else %}{% set rest = messages %}{% set system = false %}{% endif %}{% for m in rest %}"
    "{% if loop.index0 == 0 and system != false %}{% set content = '<<SYS>>\n' + system + '\n<</SYS>>\n\n' + m['content'] %}"
    "{% else %}{% set content = m['content'] %}{% endif %}"
    "{% if m['role'] == 'user' %}{{ '<|im_start|>[INST] ' + content.strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + content.strip() + ' <|im_end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %} {% endif %}"
)
LOOKING = (  # every way to look that a skeleton must notice
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content in 'yes no' %}!{% endif %}"
    "{% if m.content | length > 9 %}long{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
JOINING = (
    "{% for m in messages %}{% set text = m.role ~ '\n' ~ m.content %}<|im_start|>{{ text }}<|im_end|>\n"
    "{% if text == 'user\nfox' %}seen{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MACRO = (
    "{% macro show(m) %}{{ m.content | upper }}{% endmacro %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ show(m) }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
FORMATTED = (
    "{% for m in messages %}<|im_start|>{{ '%s\n%s' % (m.role, m.content) }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
KEPT_BLOCK = (
    "{% for m in messages %}{% set text %}{{ m.content }}{% endset %}<|im_start|>{{ m.role }}\n"
    "{% if 'fox' in text %}animal {% endif %}{{ text }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WITHOUT_MARKS = "{% for m in messages %}{{ m.role }}: {{ m.content }}<|endoftext|>\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
FOLLOWED = {"chatml": CHATML, "own": "", "thinking": THINKING, "trimming": TRIMMING, "plain": WITHOUT_MARKS}
LEFT = {
    "looking": LOOKING,
    "macro": MACRO,
    "formatted": FORMATTED,
    "block": KEPT_BLOCK,
    "joining": JOINING,
    "system": SYSTEM_IN_USER,  # its answers begin with a space, which is no mark
}
PIECES = [
    "fox", "the quick", " ", "\n", "</think>", "<think>", "<|im_end|>", "<|im_start|>assistant\n", "<|endoftext|>", "[/INST]",
    "assistant: ", "user\n", "yes", "明月", "🌕", "\ufdd0", "\U000f0000", "|im_end|>", "<|im_", "é\u0301", "0", "lazy dog jumps",
]  # fmt: skip
CONTENT = st.lists(st.sampled_from(PIECES), min_size=0, max_size=5).map("".join)
CONVERSATION = st.builds(
    lambda system, turns, weights: (
        ([{"role": "system", "content": system}] if system is not None else [])
        + [
            {
                "role": ("user", "assistant")[i % 2],
                "content": text,
                **({"weight": w} if i % 2 and w is not None else {}),
            }
            for i, (text, w) in enumerate(zip(turns, weights, strict=False))
        ]
    ),
    st.none() | CONTENT,
    st.lists(CONTENT, min_size=2, max_size=5),
    st.lists(st.sampled_from([None, None, None, 0.0, 0.5]), min_size=5, max_size=5),
)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    folder = tmp_path_factory.mktemp("tokenizers")
    return {name: make_tokenizer(folder / name, text or chatml()) for name, text in {**FOLLOWED, **LEFT}.items()}


def agreed(skeletons: Skeletons, tokenizer: Tokenizer, rows: list[list[dict[str, Any]]]) -> int:
    """Checks every row against the template; how many came from a skeleton."""
    made = 0
    for row, found in zip(rows, skeletons.render(rows), strict=True):
        if found is None:
            continue
        made += 1
        wanted = tokenizer.template.render(row, count=skeletons.count)
        assert found[0].tolist() == wanted.tokens, row
        assert found[1].tolist() == wanted.weights, row
    return made


@pytest.mark.parametrize("name", [*FOLLOWED, *LEFT])
@settings(max_examples=25, deadline=None)
@given(st.lists(CONVERSATION, min_size=1, max_size=12), st.sampled_from(["answers", "all", "last"]))
def test_what_is_given_is_what_the_template_gives(
    tokenizers: dict[str, Tokenizer], name: str, rows: list[list[dict[str, Any]]], count: Any
) -> None:
    agreed(Skeletons(tokenizers[name], count), tokenizers[name], rows)


@pytest.mark.parametrize("name", FOLLOWED)
def test_ordinary_conversations_come_from_skeletons(tokenizers: dict[str, Tokenizer], name: str) -> None:
    rows = [chat(f"the quick fox {i}", f"answer {i}", system="be brief" if i % 2 else "") for i in range(60)]
    assert agreed(Skeletons(tokenizers[name], "answers"), tokenizers[name], rows) == 60


@pytest.mark.parametrize("name", LEFT)
def test_templates_that_look_in_other_ways_are_left_to_themselves(tokenizers: dict[str, Tokenizer], name: str) -> None:
    rows = [chat(f"the quick fox {i}", f"answer {i}") for i in range(60)]
    assert agreed(Skeletons(tokenizers[name], "answers"), tokenizers[name], rows) == 0


def test_a_look_answered_otherwise_is_another_skeleton(tokenizers: dict[str, Tokenizer]) -> None:
    tokenizer = tokenizers["thinking"]
    skeletons = Skeletons(tokenizer, "answers")
    rows = [chat("why", "so"), chat("why", "hm</think>so"), chat("why", "\nso"), chat("why not", "therefore")]
    assert [found is not None for found in skeletons.render(rows)] == [True, False, False, True]


def test_the_shared_template_and_conversations(shared: Path) -> None:
    from danlu.data import read_documents

    tokenizer = load_tokenizer(shared / "tokenizers" / "minimind")
    for name in ("sharegpt_vicuna_dummy_conversation.json", "alpaca_zh_demo.json", "v1_sft_demo.jsonl"):
        rows = [d.messages for d in read_documents(str(shared / "instruct" / name))][:150]  # type: ignore[union-attr]
        assert agreed(Skeletons(tokenizer, "answers"), tokenizer, rows) > 0.9 * len(rows)


def test_a_template_that_is_wrong_is_left_to_say_so(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path, "{{ raise_exception('no') }}")
    assert Skeletons(tokenizer, "answers").render([chat("a", "b")]) == [None]
    with pytest.raises(DataError):
        tokenizer.template.render(chat("a", "b"))


def chat(question: str, answer: str, system: str = "") -> list[dict[str, Any]]:
    head = [{"role": "system", "content": system}] if system else []
    return [*head, {"role": "user", "content": question}, {"role": "assistant", "content": answer}]
