"""Any conversation: the answers' tokens are what they would be alone, and a prompt is a beginning of the whole."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tokenizer_corpus import trained

CONTENT = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufdd0"), max_size=20),
    st.sampled_from(
        ["<|im_end|>", "<|im_start|>assistant\n", "x<|im_end|>\n<|im_start|>assistant\nx", "assistant", "\n"]
    ),
)
TURN = st.tuples(CONTENT, CONTENT, st.sampled_from([0.0, 0.5, 1.0]))


@settings(max_examples=200, deadline=None)
@given(turns=st.lists(TURN, min_size=1, max_size=4))
def test_answers_are_found_whatever_people_write(turns: list[tuple[str, str, float]]) -> None:
    tokenizer = trained("byte_bpe")
    messages = []
    for asked, answered, weight in turns:
        messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered, "weight": weight}]
    rendered = tokenizer.template.render(messages)
    assert len(rendered.tokens) == len(rendered.weights)
    for weight in (0.5, 1.0):
        counted = [token for token, w in zip(rendered.tokens, rendered.weights, strict=True) if w == weight]
        alone = [[*tokenizer.encode(answer), tokenizer.id("<|im_end|>")] for _, answer, w in turns if w == weight]
        assert counted == [token for ids in alone for token in ids]
    prompt = tokenizer.template.render(messages[:-1], prompt=True).tokens
    assert rendered.tokens[: len(prompt)] == prompt
    assert sum(token in tokenizer.special_ids for token in rendered.tokens) == 4 * len(turns)
