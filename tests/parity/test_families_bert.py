"""BERT: logits of tokens and sentences, gradients and directories are those of transformers."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import torch
from encoder_twins import REAL, SIZES, ours_of, same, same_gradients, same_packed, theirs_of
from safetensors.torch import load_file, save_file

from danlu import load
from danlu.core.errors import CheckpointError
from danlu.nn.layout import Layout

FORMS = {
    "as published": {},
    "tanh gelu": {"hidden_act": "gelu_new"},
    "one kind of tokens": {"type_vocab_size": 3},
    "untied": {"tie_word_embeddings": False},
    "other eps": {"layer_norm_eps": 1e-3},
}


@pytest.mark.parametrize("form", FORMS)
def test_both_logits_and_directories_agree(form, twins, reopened) -> None:
    theirs, ours, _ = twins("bert", auto="AutoModelForPreTraining", **{**SIZES, **FORMS[form]})
    again = reopened(ours, "AutoModelForPreTraining")
    with torch.no_grad():
        tokens, sentences = ours_of(ours, 0)
        for model in (theirs, again):
            expected = theirs_of(model, 0)
            same(tokens[REAL], expected.prediction_logits[REAL])
            same(sentences, expected.seq_relationship_logits)


@pytest.mark.parametrize("form", ["as published", "untied"])
def test_gradients_agree(form, twins, tmp_path) -> None:
    theirs, ours, _ = twins("bert", auto="AutoModelForPreTraining", **{**SIZES, **FORMS[form]})
    same_gradients(theirs, ours, 0, "seq_relationship_logits", tmp_path / "gradients")


def test_packed_documents_are_separate(twins) -> None:
    same_packed(twins("bert", auto="AutoModelForMaskedLM", **SIZES)[1])


@pytest.mark.parametrize(
    ("auto", "scored"),
    [("AutoModelForMaskedLM", None), ("AutoModel", "pooler_output"), ("AutoModelForNextSentencePrediction", "logits")],
)
def test_the_ends_are_those_that_architectures_names(auto, scored, twins, reopened) -> None:
    theirs, ours, folder = twins("bert", auto=auto, **SIZES)
    named = json.loads((folder / "config.json").read_text())["architectures"]
    again = reopened(ours, auto)
    assert [type(again).__name__] == named
    with torch.no_grad():
        tokens, of_rows = ours_of(ours, 0)
        for model in (theirs, again):
            expected = theirs_of(model, 0)
            if scored is None:
                same(tokens[REAL], expected.logits[REAL])
                assert of_rows is None
            else:
                same(of_rows, expected[scored])
            if auto == "AutoModel":
                same(tokens[REAL], expected.last_hidden_state[REAL])


def test_the_fixture(shared) -> None:
    folder = shared / "interop/bert"
    reference, (model, _) = np.load(folder / "reference.npz"), load(folder)
    tokens, segment, types = (
        torch.from_numpy(reference[f"in_{name}"]) for name in ("input_ids", "attention_mask", "token_type_ids")
    )
    position = torch.arange(tokens.shape[1]).expand_as(tokens)
    where = Layout.of(position, segment, token_type=types)
    with torch.no_grad():
        hidden = model.hidden(tokens, where)
        sentences = model.classify(model.pooler(hidden, segment))
        found = model.head(hidden)
    same(found[segment == 1], torch.from_numpy(reference["out_mlm"])[segment == 1])
    same(sentences, torch.from_numpy(reference["out_nsp"]))


def as_on_the_hub(held: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """bert-base-uncased: gamma and beta, a buffer of positions, and a second copy of the table of tokens."""
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in held.items()
    }
    table = held["bert.embeddings.word_embeddings.weight"]
    return old | {
        "bert.embeddings.position_ids": torch.arange(48)[None],
        "cls.predictions.decoder.weight": table.clone(),
    }


def test_the_weights_of_all_ends_serve_a_directory_that_names_fewer(twins, tmp_path, caplog) -> None:
    """bert-base-uncased names BertForMaskedLM and holds the pooler and the classifier of sentences too."""
    theirs, _, folder = twins("bert", auto="AutoModelForPreTraining", **SIZES)
    save_file(as_on_the_hub(load_file(folder / "model.safetensors")), folder / "model.safetensors")
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({**raw, "architectures": ["BertForMaskedLM"], "gradient_checkpointing": False})
    )
    with caplog.at_level(logging.WARNING, "danlu"):
        model, _ = load(folder)
    assert "'bert.pooler.dense.bias' (5 such)" in caplog.text
    assert model.pooler is None
    with torch.no_grad():
        same(ours_of(model, 0)[0][REAL], theirs_of(theirs, 0).prediction_logits[REAL])


def change(folder, **tensors) -> None:
    held = load_file(folder / "model.safetensors") | {k: v for k, v in tensors.items() if v is not None}
    save_file({k: v for k, v in held.items() if tensors.get(k, v) is not None}, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        ({"bert.pooler.dense.weight": None}, "the tensor 'bert.pooler.dense.weight' of shape [32, 32] is missing"),
        ({"cls.seq_relationship.bias": None}, "the tensor 'cls.seq_relationship.bias' of shape [2] is missing"),
        ({"cls.predictions.bias": None}, "the tensor 'cls.predictions.bias' of shape [97] is missing"),
        ({"bert.encoder.layer.7.output.dense.bias": torch.ones(2)}, "'bert.encoder.layer.7.output.dense.bias' (1 such)"),
        ({"cls.predictions.decoder.norm": torch.ones(2)}, "'cls.predictions.decoder.norm' (1 such)"),
        ({"cls.seq_relationship.weight": torch.ones(3, 32)}, "'cls.seq_relationship.weight' has shape [3, 32], config.json asks for [2, 32]"),
        ({"bert.embeddings.position_embeddings.weight": torch.ones(50, 32)}, "has shape [50, 32], config.json asks for [48, 32]"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit_are_named(tensors, sentence, twins) -> None:
    folder = twins("bert", auto="AutoModelForPreTraining", **SIZES)[2]
    change(folder, **tensors)
    with pytest.raises(CheckpointError) as caught:
        load(folder)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"architectures": ["BertForQuestionAnswering"]}, ["architectures", "BertForMaskedLM"]),
        ({"hidden_act": "silu"}, ["hidden_act = 'silu' cannot be served", "gelu_new"]),
        ({"hidden_act": "relu"}, ["a head with hidden_act 'relu' is not built"]),
        ({"is_decoder": True}, ["is_decoder = True cannot be served"]),
        ({"position_embedding_type": "relative_key"}, ["position_embedding_type", "learned positions only"]),
    ],
)
def test_settings_that_cannot_be_served(settings, words, twins) -> None:
    folder = twins("bert", auto="AutoModelForPreTraining", **SIZES)[2]
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**raw, **settings}))
    with pytest.raises(CheckpointError) as caught:
        load(folder)
    assert all(word in str(caught.value) for word in words), str(caught.value)
