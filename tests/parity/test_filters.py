"""Filters against transformers' own processors on random logits and texts, one by one and all in a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from chosen_rows import SmallRow
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers.generation import logits_process as theirs

from danlu.infer.filters import FILTERS, chain
from danlu.infer.sampling import Sampling

PROMPT = 4
ENDS = (2, 0)


def _bias(pairs: dict[tuple[int, ...], float]) -> Any:
    return theirs.SequenceBiasLogitsProcessor([[list(key), value] for key, value in pairs.items()])


def _words(drawn: list[list[int]], vocab: int) -> tuple[tuple[int, ...], ...]:
    return tuple(dict.fromkeys(tuple(token % vocab for token in word) for word in drawn))


# Of each filter: values as hypothesis draws them, our value from them, their processor.
PAIRS: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any, int], Any], Callable[[Any], Any]]] = {
    "logit_bias": (
        st.dictionaries(st.integers(0, 1), st.floats(-20, 20, width=32).filter(bool), min_size=1),
        lambda drawn, vocab: tuple(drawn.items()),
        lambda value: _bias({(token,): bias for token, bias in value}),
    ),
    "repetition_penalty": (st.floats(0.2, 5), lambda drawn, vocab: drawn, theirs.RepetitionPenaltyLogitsProcessor),
    "no_repeat_ngram_size": (st.integers(1, 5), lambda drawn, vocab: drawn, theirs.NoRepeatNGramLogitsProcessor),
    "bad_words": (
        st.lists(st.lists(st.integers(0, 59), min_size=1, max_size=3), min_size=1, max_size=6),
        _words,
        lambda value: theirs.NoBadWordsLogitsProcessor([list(word) for word in value]),
    ),
    "min_tokens": (
        st.integers(1, 12),
        lambda drawn, vocab: (drawn, tuple(token % vocab for token in ENDS)),
        lambda value: theirs.MinNewTokensLengthLogitsProcessor(PROMPT, value[0], list(value[1])),
    ),
    "temperature": (st.floats(0.05, 5), lambda drawn, vocab: drawn, theirs.TemperatureLogitsWarper),
    "top_k": (st.integers(1, 70), lambda drawn, vocab: drawn, theirs.TopKLogitsWarper),
    "top_p": (st.floats(0.01, 0.999), lambda drawn, vocab: drawn, theirs.TopPLogitsWarper),
    "min_p": (st.floats(0.001, 1), lambda drawn, vocab: drawn, theirs.MinPLogitsWarper),
    "typical_p": (st.floats(0.01, 0.999), lambda drawn, vocab: drawn, theirs.TypicalLogitsWarper),
    "epsilon_cutoff": (st.floats(1e-4, 0.9), lambda drawn, vocab: drawn, theirs.EpsilonLogitsWarper),
    "eta_cutoff": (st.floats(1e-4, 0.9), lambda drawn, vocab: drawn, theirs.EtaLogitsWarper),
}
OURS_ALONE = {"presence_penalty", "frequency_penalty"}  # transformers has none: tests/truth/test_filtering_history.py


@st.composite
def steps(draw: Callable[..., Any]) -> tuple[torch.Tensor, list[SmallRow], torch.Tensor]:
    """Logits (B, V), half of them on a grid so that they tie, texts of few different tokens, and these as a tensor."""
    rows, vocab, said = draw(st.integers(1, 4)), draw(st.integers(3, 60)), draw(st.integers(0, 12))
    random = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    logits = torch.randn(rows, vocab, generator=random) * 4
    logits = logits.round() if draw(st.booleans()) else logits
    texts = torch.randint(min(vocab, draw(st.integers(2, 60))), (rows, PROMPT + said), generator=random)
    return logits, [SmallRow(text[:PROMPT], text[PROMPT:]) for text in texts.tolist()], texts


@pytest.mark.parametrize("name", list(PAIRS))
@settings(max_examples=60, deadline=None)
@given(step=steps(), data=st.data())
def test_each_equals_its_processor(name: str, step: Any, data: Any) -> None:
    logits, rows, texts = step
    values, ours, processor = PAIRS[name]
    value = ours(data.draw(values), logits.shape[-1])
    _assert_equal(chain({name: value})[0](logits, rows), processor(value)(texts, logits))


def test_every_filter_has_a_processor_to_equal() -> None:
    assert set(PAIRS) | OURS_ALONE == set(FILTERS)


def _assert_equal(ours: torch.Tensor, expected: torch.Tensor) -> None:
    """The same tokens dropped; what is left the same to the last bit but one."""
    assert torch.equal(ours == float("-inf"), expected == float("-inf"))
    torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-6)


@pytest.fixture(scope="module")
def bare() -> Any:
    """A model without weights, for its method that builds the list of processors."""
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.device("meta"):
        return LlamaForCausalLM(LlamaConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1))


@settings(max_examples=80, deadline=None)
@given(step=steps(), data=st.data())
def test_all_in_a_row_equal_the_list_that_generate_builds(bare: Any, step: Any, data: Any) -> None:
    """The processors of GenerationMixin itself, from a GenerationConfig with the same settings: so is their order."""
    from transformers import GenerationConfig

    logits, rows, texts = step
    ends = [token % logits.shape[-1] for token in ENDS]
    asked = _drawn(data, logits.shape[-1])
    left = logits
    for change in chain(asked, greedy=True):
        left = change(left, rows)
    assume((left > float("-inf")).any(-1).all())  # where nothing is left they fail or draw from nothing, we from all
    config = GenerationConfig(do_sample=True, max_new_tokens=20, **{"top_k": 0, **_as_they_say(asked)})
    config._eos_token_tensor = torch.tensor(ends)
    expected = bare._get_logits_processor(config, input_ids_seq_length=PROMPT)(texts, logits.clone())
    decoder = Sampling(**{"temperature": 1.0, **_as_we_say(asked)}).decoder(ends)
    _assert_equal(decoder.filtered(logits, rows), expected)


def _drawn(data: Any, vocab: int) -> dict[str, Any]:
    """Values of some filters, less what differs on purpose: we forbid an end that is a bad word; top_k 1 is greedy."""
    asked = {name: ours(data.draw(values), vocab) for name, (values, ours, _) in PAIRS.items()}
    asked["bad_words"] = tuple(word for word in asked["bad_words"] if word not in {(e % vocab,) for e in ENDS})
    asked["top_k"] = max(asked["top_k"], 2)
    chosen = data.draw(st.sets(st.sampled_from(sorted(asked))))
    return {name: asked[name] for name in chosen if asked[name] != ()}


THEIRS = {"min_tokens": "min_new_tokens", "bad_words": "bad_words_ids", "logit_bias": "sequence_bias"}


def _as_they_say(asked: dict[str, Any]) -> dict[str, Any]:
    said = {THEIRS.get(name, name): value for name, value in asked.items()}
    if "min_tokens" in asked:
        said |= {"min_new_tokens": asked["min_tokens"][0]}
    if "bad_words" in asked:
        said |= {"bad_words_ids": [list(word) for word in asked["bad_words"]]}
    if "logit_bias" in asked:
        said |= {"sequence_bias": [[[token], bias] for token, bias in asked["logit_bias"]]}
    return said


def _as_we_say(asked: dict[str, Any]) -> dict[str, Any]:
    said = dict(asked)
    if "min_tokens" in asked:
        said["min_tokens"] = asked["min_tokens"][0]
    if "logit_bias" in asked:
        said["logit_bias"] = dict(asked["logit_bias"])
    return said


@pytest.mark.parametrize("top_p", [0.1, 0.5, 0.95, 0.999])
@pytest.mark.parametrize("sharpness", [0.1, 1.0, 4.0])
def test_a_large_vocabulary_is_not_sorted_whole_and_keeps_the_same(top_p: float, sharpness: float) -> None:
    logits = torch.randn(5, 9000, generator=torch.Generator().manual_seed(2)) * sharpness
    logits[1, 77] += 20
    rows = [SmallRow()] * 5
    _assert_equal(chain({"top_p": top_p})[0](logits, rows), theirs.TopPLogitsWarper(top_p)(torch.zeros(5, 1), logits))
