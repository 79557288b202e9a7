"""Streaming shows all of the text and nothing of a stop string, however the text is cut."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.infer.stops import Tail

TEXT = st.text("ab\n", max_size=30)
STOPS = st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3)


def _expected(text: str, stops: list[str]) -> str:
    """Letter by letter: the first end of a stop string, then the longest of those that end there."""
    for end in range(1, len(text) + 1):
        sizes = [len(stop) for stop in stops if text[:end].endswith(stop)]
        if sizes:
            return text[: end - max(sizes)]
    return text


@settings(max_examples=300, deadline=None)
@given(text=TEXT, stops=STOPS, data=st.data())
def test_any_cut_gives_the_same_text_and_no_stop_string(text: str, stops: list[str], data: st.DataObject) -> None:
    tail, shown, begin = Tail(stops), "", 0
    while begin < len(text):
        end = data.draw(st.integers(begin + 1, len(text)))
        shown += tail.push(text[begin:end])
        begin = end
        assert shown == tail.text
        assert _expected(text, stops).startswith(shown), "something was shown that had to be taken back"
    shown += tail.flush()
    assert shown == tail.text == _expected(text, stops)
    assert tail.stopped == (shown != text)
    assert not any(stop in shown for stop in stops)


@settings(max_examples=200, deadline=None)
@given(text=TEXT, stops=STOPS)
def test_no_more_is_held_back_than_a_stop_string_needs(text: str, stops: list[str]) -> None:
    tail = Tail(stops)
    for letter in text:
        tail.push(letter)
        if not tail.stopped:
            assert tail.held == "" or any(stop.startswith(tail.held) for stop in stops)
