"""Chat templates are programs of strangers: each of these ends in one sentence, soon, without much memory."""

from __future__ import annotations

import threading
import time
import tracemalloc

import pytest
from tests.tokenizer_corpus import trained

from danlu.core.errors import DataError
from danlu.tokenize import Tokenizer

LOOPS = {
    "nested ranges": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "nested strings": "{% set s = 'x' * 100000 %}{% for a in s %}{% for b in s %}{% endfor %}{% endfor %}",
    "macros": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(99) }}",
    "endless macro": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "recursive loop": "{% for i in range(9) recursive %}{{ loop(range(99999)) }}{% endfor %}",
    "calls": "{% for i in range(99999) %}{% for j in range(99999) %}{{ 'a'.upper() }}{% endfor %}{% endfor %}",
    "lists of lists": "{% set n = namespace(a=['x']) %}{% for i in range(60) %}{% set n.a = [n.a, n.a] %}{% endfor %}{{ n.a }}",
    "map": "{{ (([range(99999)] * 9999) | map('list') | list) | length }}",
}
SIZES = {
    "product": "{{ 'a' * 10**9 }}",
    "constant product": "{{ 'a' * 1000000000 }}",
    "product of a list": "{{ [1] * 1000000000 }}",
    "doubling": "{% set n = namespace(a='x') %}{% for i in range(60) %}{% set n.a = n.a ~ n.a %}{% endfor %}{{ n.a }}",
    "doubling by plus": "{% set n = namespace(a='x') %}{% for i in range(60) %}{% set n.a = n.a + n.a %}{% endfor %}{{ n.a }}",
    "power": "{{ 9 ** (9 ** 9) }}",
    "squares": "{% set n = namespace(a=3) %}{% for i in range(60) %}{% set n.a = n.a * n.a %}{% endfor %}{{ n.a }}",
    "percent": "{{ '%1000000000d' % 1 }}",
    "format": "{{ '{:1000000000}'.format(1) }}",
    "format from outside": "{{ '{:{w}}'.format(1, w=1000000000) }}",
    "format filter": "{{ '%1000000000d' | format(1) }}",
    "center": "{{ 'a' | center(1000000000) }}",
    "ljust": "{{ 'a'.ljust(1000000000) }}",
    "bytes": "{{ 'a'.encode().center(1000000000) }}",
    "tabs": "{{ ('\t' * 1000).expandtabs(1000000000) }}",
    "indent": "{{ 'a' | indent(1000000000, true) }}",
    "replace": "{{ ('a,' * 100000).replace('a', 'b' * 100000) }}",
    "replace filter": "{{ 'ab' | replace('', 'b' * 4000000) }}",
    "join": "{{ (range(99999) | list) | join('x' * 100000) }}",
    "batch": "{{ [1] | batch(1000000000, 0) | list }}",
    "sum": "{{ ([['x'] * 1000] * 100000) | sum(start=[]) }}",
    "output": "{% set b = 'a' * 1000000 %}{% for i in range(99999) %}{{ b }}{% endfor %}",
    "constant output": "{% set x %}{% for i in range(99999) %}" + "a" * 10000 + "{% endfor %}{% endset %}{{ x }}",
    "lipsum": "{{ lipsum(n=100000000) }}",
    "range": "{% for i in range(10**9) %}{% endfor %}",
}
ESCAPES = {
    "class": "{{ ''.__class__.__mro__ }}",
    "globals": "{{ cycler.__init__.__globals__ }}",
    "attr": "{{ ''|attr('__class__') }}",
    "format attribute": "{{ '{0.__class__}'.format(1) }}",
    "change": "{{ messages.append(1) or '' }}",
    "namespace": "{% set n = namespace() %}{% set n.__class__ = 1 %}",
    "import": "{% import 'os' as os %}{{ os }}",
    "include": "{% include '/etc/passwd' %}",
}
MESSAGES = [{"role": "user", "content": "hi"}]


def refused(source: str) -> None:
    tokenizer = trained("byte_bpe").with_template("{{ messages[0].role }}{{ messages[0].content }}" + source)
    with pytest.raises(DataError, match="chat template") as error:
        tokenizer.template.text(MESSAGES)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("source", LOOPS.values(), ids=list(LOOPS))
def test_it_ends_in_time(source: str) -> None:
    start = time.thread_time()
    refused(source)
    assert time.thread_time() - start < 1.5  # the limit, and on its way out a busy machine's last step


@pytest.mark.parametrize("source", SIZES.values(), ids=list(SIZES))
def test_it_takes_no_memory(source: str) -> None:
    tracemalloc.start()
    try:
        refused(source)
        assert tracemalloc.get_traced_memory()[1] < 300 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("source", ESCAPES.values(), ids=list(ESCAPES))
def test_it_reaches_nothing(source: str) -> None:
    """Refused, or nothing where the secret would stand: Jinja's undefined."""
    template = trained("byte_bpe").with_template("{{ messages[0].role }}{{ messages[0].content }}" + source).template
    try:
        shown = template.text(MESSAGES)
    except DataError as error:
        shown = "userhi" if "the chat template" in str(error) else str(error)
    assert shown == "userhi"


def test_one_rendering_stays_within_a_second() -> None:
    """Processor time, so that a busy machine refuses nothing that an idle one would render."""
    template = trained("byte_bpe").with_template(LOOPS["nested ranges"]).template
    start = time.thread_time()
    with pytest.raises(DataError, match="seconds"):
        template._run(MESSAGES, False, None, {})
    assert time.thread_time() - start < 1


def test_threads_have_limits_of_their_own() -> None:
    """Four threads render a long but honest conversation at once."""
    tokenizer: Tokenizer = trained("byte_bpe")
    messages = [{"role": role, "content": "x" * 500} for role in ("user", "assistant")] * 300
    wanted = tokenizer.template.text(messages)
    found: list[bool] = []

    def work() -> None:
        found.extend(tokenizer.template.text(messages) == wanted for _ in range(3))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 12


def test_a_long_honest_conversation_is_rendered() -> None:
    tokenizer = trained("byte_bpe")
    long = [{"role": "user", "content": "word " * 400_000}, {"role": "assistant", "content": "ok"}]
    assert len(tokenizer.template.text(long)) > 2_000_000
