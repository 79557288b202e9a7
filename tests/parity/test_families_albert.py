"""ALBERT: logits of tokens and of the order of sentences, gradients and directories are those of transformers."""

from __future__ import annotations

import json

import pytest
import torch
from encoder_twins import REAL, SIZES, ours_of, same, same_gradients, same_packed, theirs_of

from danlu import load
from danlu.core.errors import CheckpointError

NARROW = {**SIZES, "embedding_size": 12, "num_hidden_layers": 4, "classifier_dropout_prob": 0.0}
FORMS = {
    "as published": {},
    "two groups": {"num_hidden_groups": 2},
    "groups of unequal size": {"num_hidden_groups": 3},
    "a group a layer": {"num_hidden_groups": 4},
    "as wide as the model": {"embedding_size": 32},
    "exact gelu": {"hidden_act": "gelu"},
    "untied": {"tie_word_embeddings": False},
}


@pytest.mark.parametrize("form", FORMS)
def test_both_logits_and_directories_agree(form, twins, reopened) -> None:
    theirs, ours, _ = twins("albert", auto="AutoModelForPreTraining", **{**NARROW, **FORMS[form]})
    again = reopened(ours, "AutoModelForPreTraining")
    with torch.no_grad():
        tokens, sentences = ours_of(ours, 0)
        for model in (theirs, again):
            expected = theirs_of(model, 0)
            same(tokens[REAL], expected.prediction_logits[REAL])
            same(sentences, expected.sop_logits)


@pytest.mark.parametrize("form", ["as published", "groups of unequal size"])
def test_gradients_agree(form, twins, tmp_path) -> None:
    """The gradient of shared weights is the sum over the layers that use them."""
    theirs, ours, _ = twins("albert", auto="AutoModelForPreTraining", **{**NARROW, **FORMS[form]})
    same_gradients(theirs, ours, 0, "sop_logits", tmp_path / "gradients")


def test_packed_documents_are_separate(twins) -> None:
    same_packed(twins("albert", auto="AutoModelForMaskedLM", **NARROW)[1])


@pytest.mark.parametrize("auto", ["AutoModelForMaskedLM", "AutoModel"])
def test_the_ends_are_those_that_architectures_names(auto, twins, reopened) -> None:
    theirs, ours, _ = twins("albert", auto=auto, **NARROW)
    again = reopened(ours, auto)
    with torch.no_grad():
        tokens, pooled = ours_of(ours, 0)
        for model in (theirs, again):
            expected = theirs_of(model, 0)
            if auto == "AutoModel":
                same(tokens[REAL], expected.last_hidden_state[REAL])
                same(pooled, expected.pooler_output)
            else:
                same(tokens[REAL], expected.logits[REAL])


def test_a_group_of_several_layers_is_refused(twins) -> None:
    folder = twins("albert", auto="AutoModelForPreTraining", **NARROW)[2]
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**raw, "inner_group_num": 2}))
    with pytest.raises(CheckpointError, match="inner_group_num = 2 cannot be served: a group of layers is one layer"):
        load(folder)
