"""Every form of calls keeps the manners of its kind: what its grammar lets be said, its reader reads."""

from __future__ import annotations

import json

import pytest
from grammar_walks import walk
from talkers import small_tokenizer
from tool_calls import chosen, offered, read, values

from danlu.core.errors import ConfigError
from danlu.infer.constraint import Vocabulary
from danlu.serve.call_forms import CALL_FORMS, form_of
from danlu.serve.tools import Tools
from danlu.tokenize import Tokenizer

ARGUMENTS = {"city": 'a"}{ \\n 北京', "days": 3}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return small_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def vocabulary(tokenizer: Tokenizer) -> Vocabulary:
    return Vocabulary(tokenizer, tokenizer.vocab_size)


def _call(form: str, name: str = "weather") -> str:
    kind = CALL_FORMS[form]
    body = json.dumps({"name": name, kind.key: ARGUMENTS}, ensure_ascii=False)
    return kind.begin + body + kind.end


@pytest.mark.parametrize("form", list(CALL_FORMS))
@pytest.mark.parametrize("choice", ["auto", "required", chosen("weather")], ids=str)
def test_its_own_calls_are_read_and_allowed(
    tokenizer: Tokenizer, vocabulary: Vocabulary, form: str, choice: object
) -> None:
    tools, kind = Tools.read(offered(), choice), form_of(tokenizer, form)
    said, calls = read(kind.reader(tools), list(_call(form)))
    assert (said, values(calls)) == ("", [("weather", ARGUMENTS)])
    constraint = kind.constraint(tools)
    assert (constraint is None) == (choice == "auto")
    if constraint is not None:
        ids = tokenizer.encode(_call(form).replace('a\\"}{ \\\\n 北京', "北京"))
        assert vocabulary.grammar(constraint).matcher(()).accepts(ids) == len(ids)


@pytest.mark.parametrize("form", list(CALL_FORMS))
def test_several_are_told_one_after_the_other(tokenizer: Tokenizer, form: str) -> None:
    answer = CALL_FORMS[form].between.join([_call(form), _call(form, "stop_all"), _call(form)])
    for tools in (Tools.read(offered()), Tools.read(offered(), "required")):
        said, calls = read(form_of(tokenizer, form).reader(tools), list(answer))
        assert said == ""
        assert [name for name, _ in calls] == ["weather", "stop_all", "weather"]


@pytest.mark.parametrize("form", list(CALL_FORMS))
def test_random_answers_that_must_call_do(tokenizer: Tokenizer, vocabulary: Vocabulary, form: str) -> None:
    tools, kind = Tools.read(offered(), "required"), form_of(tokenizer, form)
    constraint = kind.constraint(tools)
    assert constraint is not None
    for seed in range(5):
        ids = walk(vocabulary.grammar(constraint).matcher(tokenizer.stops), tokenizer.stops, seed, 1000)
        decoder = tokenizer.decoder()
        said, calls = read(kind.reader(tools), [*map(decoder.push, ids), decoder.flush()])
        assert said == ""
        assert calls
        assert all(isinstance(given, dict) for _, given in values(calls))


@pytest.mark.parametrize("form", list(CALL_FORMS))
def test_text_without_a_call_stays_to_the_letter(tokenizer: Tokenizer, form: str) -> None:
    for text in ("", "Hello.\n\n你好 ", " \n", "a { b } c; [1, 2]", "x" * 500):
        reader = form_of(tokenizer, form).reader(Tools.read(offered()))
        assert read(reader, list(text)) == (text, [])


@pytest.mark.parametrize("form", list(CALL_FORMS))
def test_a_strict_function_of_an_unknown_schema_is_refused_and_another_is_followed_as_far_as_it_goes(
    tokenizer: Tokenizer, vocabulary: Vocabulary, form: str
) -> None:
    odd = {"type": "object", "properties": {"a": {"type": "integer"}}, "not": {"required": ["b"]}}

    def constraint(strict: bool) -> dict[str, str]:
        function = {"name": "odd", "parameters": odd, "strict": strict}
        found = form_of(tokenizer, form).constraint(
            Tools.read([{"type": "function", "function": function}], "required")
        )
        assert found is not None
        return found

    with pytest.raises(ConfigError, match="not"):
        vocabulary.grammar(constraint(True))
    assert vocabulary.grammar(constraint(False))
