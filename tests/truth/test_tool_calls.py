"""Calls in the text of an answer: answers as the families write them, cut in every way, and answers of a random model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from grammar_walks import walk
from talkers import small_tokenizer
from tokenizers import AddedToken
from tool_calls import chosen, offered, read, values

from danlu.infer.constraint import Vocabulary
from danlu.serve.call_forms import CALL_FORMS, form_of, shows_tools
from danlu.serve.tools import Tools
from danlu.tokenize import Tokenizer
from danlu.tokenize.template import chatml

PARIS = '{"name": "weather", "arguments": {"city": "Paris", "days": 2}}'
TAGGED = "<tool_call>\n" + PARIS + "\n</tool_call>"
BARE = '{"name": "weather", "parameters": {"city": "Paris", "days": 2}}'
TRICKY = {"city": 'a "b" } ] \\" </tool_call> {[', "days": 1}

CALLED: dict[str, tuple[str, str, str, list[tuple[str, Any]]]] = {
    "one": ("hermes", TAGGED, "", [("weather", {"city": "Paris", "days": 2})]),
    "on one line": ("hermes", f"<tool_call>{PARIS}</tool_call>", "", [("weather", {"city": "Paris", "days": 2})]),
    "after text": ("hermes", f"Let me look.\n\n{TAGGED}\n", "Let me look.", [("weather", {"city": "Paris", "days": 2})]),
    "between text": ("hermes", f"一 {TAGGED} 二", "一 二", [("weather", {"city": "Paris", "days": 2})]),
    "several": ("hermes", f"{TAGGED}\n{TAGGED.replace('Paris', '北京')}", "", [("weather", {"city": "Paris", "days": 2}), ("weather", {"city": "北京", "days": 2})]),
    "no end": ("hermes", f"<tool_call>\n{PARIS}", "", [("weather", {"city": "Paris", "days": 2})]),
    "nothing to say": ("hermes", '<tool_call>\n{"name": "stop_all", "arguments": {}}\n</tool_call>', "", [("stop_all", {})]),
    "arguments left out": ("hermes", '<tool_call>\n{"name": "stop_all"}\n</tool_call>', "", [("stop_all", {})]),
    "another key": ("hermes", f"<tool_call>{BARE}</tool_call>", "", [("weather", {"city": "Paris", "days": 2})]),
    "arguments first": ("hermes", '<tool_call>{"arguments": {"city": "x"}, "name": "weather"}</tool_call>', "", [("weather", {"city": "x"})]),
    "arguments as a text": ("hermes", '<tool_call>{"name": "weather", "arguments": "{\\"city\\": \\"x\\"}"}</tool_call>', "", [("weather", {"city": "x"})]),
    "braces in strings": ("hermes", f'<tool_call>{{"name": "weather", "arguments": {json.dumps(TRICKY)}}}</tool_call>', "", [("weather", TRICKY)]),
    "half a pair": ("hermes", '<tool_call>{"name": "weather", "arguments": {"city": "\\ud83d"}}</tool_call>', "", [("weather", {"city": "\ud83d"})]),
    "bare": ("llama3", BARE, "", [("weather", {"city": "Paris", "days": 2})]),
    "bare after a line": ("llama3", f"\n\n{BARE}\n", "", [("weather", {"city": "Paris", "days": 2})]),
    "bare twice": ("llama3", f"{BARE}; {BARE}", "", [("weather", {"city": "Paris", "days": 2})] * 2),
    "bare on lines": ("llama3", f"{BARE}\n{BARE}", "", [("weather", {"city": "Paris", "days": 2})] * 2),
    "bare, other key": ("llama3", PARIS, "", [("weather", {"city": "Paris", "days": 2})]),
}  # fmt: skip

TEXTS: dict[str, tuple[str, str]] = {
    "text": ("hermes", "Hello <b>you</b> < tool_call> </tool_call>.\n"),
    "an unknown function": ("hermes", '<tool_call>{"name": "rm", "arguments": {}}</tool_call>'),
    "no JSON": ("hermes", "a <tool_call>{name: weather}</tool_call> b"),
    "no object": ("hermes", "a <tool_call>weather()</tool_call>"),
    "arguments that are none": ("hermes", '<tool_call>{"name": "weather", "arguments": [1]}</tool_call>'),
    "cut in a string": ("hermes", '<tool_call>\n{"name": "weather", "arguments": {"city": "Pa'),
    "cut in the mark": ("hermes", "see <tool_ca"),
    "only the mark": ("hermes", "<tool_call>"),
    "spaces at the end": ("hermes", "good \n\n "),
    "only spaces": ("hermes", " \n"),
    "nothing": ("hermes", ""),
    "not a number": ("hermes", '<tool_call>{"name": "weather", "arguments": {"days": NaN}}</tool_call>'),
    "too deep": ("hermes", '<tool_call>{"name": "weather", "arguments": ' + '{"a": ' * 3000 + "1" + "}" * 3001 + "</tool_call>"),
    "JSON that is no call": ("llama3", '{"answer": 42}'),
    "JSON after text": ("llama3", f"See: {BARE}"),
    "bare and cut": ("llama3", BARE[:-2]),
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return small_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def vocabulary(tokenizer: Tokenizer) -> Vocabulary:
    return Vocabulary(tokenizer, tokenizer.vocab_size)


def _cuts(text: str) -> Iterator[list[str]]:
    """As a whole, letter by letter, and in two at every place (of a long text, at some)."""
    yield [text]
    yield list(text)
    yield from ([text[:place], text[place:]] for place in range(0, len(text), 1 + len(text) // 200 * 5))


@pytest.mark.parametrize("case", list(CALLED))
def test_calls_are_found_however_the_text_is_cut(tokenizer: Tokenizer, case: str) -> None:
    form, answer, text, calls = CALLED[case]
    for pieces in _cuts(answer):
        said, told = read(form_of(tokenizer, form).reader(Tools.read(offered())), pieces)
        assert values(told) == calls
        assert " ".join(said.split()) == text
        json.dumps(told, ensure_ascii=False).encode()


@pytest.mark.parametrize("case", list(TEXTS))
def test_what_is_no_call_is_text_to_the_letter(tokenizer: Tokenizer, case: str) -> None:
    form, answer = TEXTS[case]
    for pieces in _cuts(answer):
        assert read(form_of(tokenizer, form).reader(Tools.read(offered())), pieces) == (answer, [])


def test_text_is_told_as_soon_as_it_cannot_be_a_call(tokenizer: Tokenizer) -> None:
    reader = form_of(tokenizer, "hermes").reader(Tools.read(offered()))
    told = [reader.push(piece).text for piece in ("Hi", " the", "re <", "b> <tool", "_box>", " x")]
    assert told == ["Hi", " the", "re", " <b>", " <tool_box>", " x"]


@pytest.mark.parametrize(("form", "answer"), [("hermes", TAGGED), ("llama3", BARE)])
def test_arguments_that_a_grammar_holds_are_told_as_they_come(tokenizer: Tokenizer, form: str, answer: str) -> None:
    reader = form_of(tokenizer, form).reader(Tools.read(offered(), "required"))
    told = [[fragment.arguments for fragment in reader.push(letter).calls] for letter in answer]
    pieces = [piece for one in told for piece in one if piece]
    assert json.loads("".join(pieces)) == {"city": "Paris", "days": 2}
    assert len(pieces) > 20
    cut = form_of(tokenizer, form).reader(Tools.read(offered(), "required"))
    said, calls = read(cut, list(answer[: answer.index("Pa") + 2]))
    assert (said, calls) == ("", [("weather", '{"city": "Pa')])


@pytest.mark.slow
@pytest.mark.parametrize("form", list(CALL_FORMS))
def test_two_hundred_of_two_hundred_forced_answers_are_calls(
    tokenizer: Tokenizer, vocabulary: Vocabulary, form: str
) -> None:
    names = set()
    for seed in range(200):
        tools = Tools.read([*offered()[:1], {"type": "function", "function": {"name": "stop_all"}}], "required")
        said, calls = _random(tokenizer, vocabulary, form, tools, seed)
        assert said == ""
        assert 1 <= len(calls) <= 8
        for name, given in values(calls):
            _expect_fitting(name, given)
            names.add(name)
    assert names == {"weather", "stop_all"}


def _random(
    tokenizer: Tokenizer, vocabulary: Vocabulary, form: str, tools: Tools, seed: int
) -> tuple[str, list[tuple[str, str]]]:
    kind = form_of(tokenizer, form)
    constraint = kind.constraint(tools)
    assert constraint is not None
    matcher = vocabulary.grammar(constraint).matcher(tokenizer.stops)
    tokens = walk(matcher, tokenizer.stops, seed, 1000)
    assert len(tokens) < 1000
    decoder = tokenizer.decoder()
    return read(kind.reader(tools), [*map(decoder.push, tokens), decoder.flush()])


def _expect_fitting(name: str, given: dict[str, Any]) -> None:
    if name == "stop_all":
        assert given == {}
        return
    assert set(given) - {"days"} == {"city"}
    assert len(given["city"]) <= 8
    assert given.get("days", 1) in range(1, 8)


@pytest.mark.parametrize("form", list(CALL_FORMS))
@pytest.mark.parametrize("parallel", [True, False])
def test_the_named_function_is_called_once(
    tokenizer: Tokenizer, vocabulary: Vocabulary, form: str, parallel: bool
) -> None:
    tools = Tools.read(offered(), chosen("weather"), parallel=parallel)
    for seed in range(8):
        said, calls = _random(tokenizer, vocabulary, form, tools, seed)
        assert (said, [name for name, _ in calls]) == ("", ["weather"])
        _expect_fitting(*values(calls)[0])


@pytest.mark.parametrize("form", list(CALL_FORMS))
def test_one_call_at_a_time_where_no_more_are_wanted(tokenizer: Tokenizer, vocabulary: Vocabulary, form: str) -> None:
    several = [_random(tokenizer, vocabulary, form, Tools.read(offered(), "required"), seed) for seed in range(12)]
    one = [
        _random(tokenizer, vocabulary, form, Tools.read(offered(), "required", parallel=False), n) for n in range(12)
    ]
    assert max(len(calls) for _, calls in several) > 1
    assert {len(calls) for _, calls in one} == {1}


@pytest.mark.parametrize("form", list(CALL_FORMS))
def test_calls_of_strict_functions_are_held_and_text_is_free(
    tokenizer: Tokenizer, vocabulary: Vocabulary, form: str
) -> None:
    kind, tools = form_of(tokenizer, form), Tools.read(offered(strict=True))
    constraint = kind.constraint(tools)
    assert constraint is not None
    grammar = vocabulary.grammar(constraint)

    def taken(text: str) -> bool:
        ids = [*tokenizer.encode(text), tokenizer.stops[0]]
        return grammar.matcher(tokenizer.stops).accepts(ids) == len(ids)

    good = kind.begin + f'{{"name": "weather", "{kind.key}": {{"city": "Paris"}}}}' + kind.end
    assert taken("Just text, 也行\n")
    assert taken(good)
    assert taken(f"{good}{kind.between}{good}")
    assert not taken(good.replace("Paris", "Paris, Texas"))
    assert not taken(good.replace("weather", "whether"))
    assert not taken(good.replace("}", "", 1))
    assert Tools.read(offered()).held is False


def test_marks_that_are_special_tokens_are_found_and_forced(tmp_path_factory: pytest.TempPathFactory) -> None:
    tokenizer = small_tokenizer(tmp_path_factory.mktemp("special"))
    tokenizer.backend.add_special_tokens(
        [AddedToken("<tool_call>", special=True), AddedToken("</tool_call>", special=True)]
    )
    tokenizer = Tokenizer(tokenizer.backend, tokenizer.profile)
    form = form_of(tokenizer, "hermes")
    begin, end = tokenizer.special["<tool_call>"], tokenizer.special["</tool_call>"]
    assert form.shown_ids == (begin, end)
    vocabulary = Vocabulary(tokenizer, tokenizer.vocab_size)
    for tools in (Tools.read(offered(), chosen("stop_all")), Tools.read(offered(strict=True))):
        constraint = form.constraint(tools)
        assert constraint is not None
        body = tokenizer.encode('\n{"name": "stop_all", "arguments": {}}\n')
        ids = [begin, *body, end]
        assert vocabulary.grammar(constraint).matcher(tokenizer.stops).accepts(ids) == len(ids)
        decoder = tokenizer.decoder(skip_special=False)
        assert read(form.reader(tools), [*map(decoder.push, ids)]) == ("", [("stop_all", "{}")])


LLAMA = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n\n"
    "{% if m.tool_calls %}{% set f = m.tool_calls[0].function %}"
    "{{ '{\"name\": \"' + f.name + '\", \"parameters\": ' }}{{ f.arguments | tojson }}{{ '}' }}"
    "{% else %}{{ m.content }}{% endif %}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n\n{% endif %}"
)


@pytest.mark.parametrize(("template", "form"), [(chatml(), "hermes"), (LLAMA, "llama3")])
def test_the_form_is_read_off_the_chat_template(tokenizer: Tokenizer, template: str, form: str) -> None:
    taught = tokenizer.with_template(template)
    assert CALL_FORMS.name_of(form_of(taught)) == form
    assert shows_tools(taught)


def test_a_template_that_knows_no_tools_shows_none(tokenizer: Tokenizer) -> None:
    assert not shows_tools(tokenizer)
    assert CALL_FORMS.name_of(form_of(tokenizer)) == "hermes"
