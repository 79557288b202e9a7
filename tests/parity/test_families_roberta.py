"""RoBERTa: logits, gradients and directories are those of transformers; positions begin after the padding token's id."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from encoder_twins import REAL, SIZES, TOKENS, ours_of, same, same_gradients, same_packed, theirs_of

from danlu import load, save
from danlu.core.errors import CheckpointError, ConfigError, ShapeError
from danlu.nn.layout import Layout

FORMS = {
    "as published": {"type_vocab_size": 1},
    "two kinds of tokens": {},
    "padding is another token": {"pad_token_id": 4},
    "padding is the first token": {"pad_token_id": 0},
    "untied": {"tie_word_embeddings": False},
    "tanh gelu in the layers only": {"hidden_act": "gelu_new"},
}


def pad_of(form: str) -> int:
    return FORMS[form].get("pad_token_id", 1)


@pytest.mark.parametrize("form", FORMS)
def test_logits_and_directories_agree(form, twins, reopened, monkeypatch) -> None:
    if form == "as published":
        monkeypatch.setattr("encoder_twins.TYPES", torch.zeros_like(TOKENS))
    theirs, ours, _ = twins("roberta", auto="AutoModelForMaskedLM", **{**SIZES, **FORMS[form]})
    again = reopened(ours, "AutoModelForMaskedLM")
    pad = pad_of(form)
    with torch.no_grad():
        found, pooled = ours_of(ours, pad)
        assert pooled is None
        for model in (theirs, again):
            same(found[REAL], theirs_of(model, pad).logits[REAL])


@pytest.mark.parametrize("form", ["two kinds of tokens", "untied"])
def test_gradients_agree(form, twins, tmp_path) -> None:
    theirs, ours, _ = twins("roberta", auto="AutoModelForMaskedLM", **{**SIZES, **FORMS[form]})
    same_gradients(theirs, ours, pad_of(form), None, tmp_path / "gradients")


def test_packed_documents_are_separate(twins) -> None:
    same_packed(twins("roberta", auto="AutoModelForMaskedLM", **SIZES)[1])


def test_padding_before_the_text_counts_no_position(twins) -> None:
    """transformers counts positions over tokens that are not padding; danlu's layout says them."""
    theirs, ours, _ = twins("roberta", auto="AutoModelForMaskedLM", **SIZES)
    tokens = TOKENS[:1].clone()
    tokens[:, :5] = 1
    segment = (tokens != 1).long()
    position = (segment.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        expected = theirs(tokens, attention_mask=segment).logits
        found = ours(tokens, Layout.of(position, segment))
    same(found[:, 5:], expected[:, 5:])


def test_the_bare_encoder_and_its_pooler(twins, reopened) -> None:
    theirs, ours, _ = twins("roberta", auto="AutoModel", **SIZES)
    again = reopened(ours, "AutoModel")
    with torch.no_grad():
        hidden, pooled = ours_of(ours, 1)
        for model in (theirs, again):
            expected = theirs_of(model, 1)
            same(hidden[REAL], expected.last_hidden_state[REAL])
            same(pooled, expected.pooler_output)


def test_the_context_is_shorter_than_the_table(twins) -> None:
    """Published as 514 rows for texts of 512 tokens."""
    ours = twins("roberta", auto="AutoModelForMaskedLM", **SIZES)[1]
    assert ours.dims.context == 46
    assert ours.position.table.weight.shape == (48, 32)
    longest = torch.full((1, 46), 9)
    assert ours(longest).shape == (1, 46, 97)
    with pytest.raises(ShapeError, match="position 46 lies beyond the model's context of 46 tokens"):
        ours(torch.full((1, 47), 9))


def test_a_padding_token_that_would_move_the_positions_is_refused(twins, tmp_path) -> None:
    """config.json's pad_token_id says where positions begin: it cannot be that of another tokenizer."""
    ours = twins("roberta", auto="AutoModelForMaskedLM", **SIZES)[1]
    ours.notes = replace(ours.notes, tokens={"pad_token_id": 0})
    with pytest.raises(ConfigError, match="the tokenizer's pad_token_id is 0, but this roberta is built on 1"):
        save(ours, None, tmp_path / "other")


def test_a_missing_tensor_is_named(twins) -> None:
    from safetensors.torch import load_file, save_file

    folder = twins("roberta", auto="AutoModelForMaskedLM", **SIZES)[2]
    held = load_file(folder / "model.safetensors")
    del held["lm_head.layer_norm.bias"]
    save_file(held, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"the tensor 'lm_head.layer_norm.bias' of shape \[32\] is missing"):
        load(folder)


def test_published_weights_hold_a_pooler_that_no_head_reads(twins, caplog) -> None:
    """roberta-base names RobertaForMaskedLM and holds a pooler too."""
    from safetensors.torch import load_file, save_file

    folder = twins("roberta", auto="AutoModelForMaskedLM", **SIZES)[2]
    held = load_file(folder / "model.safetensors")
    more = {
        "roberta.pooler.dense.weight": torch.ones(32, 32),
        "roberta.embeddings.position_ids": torch.arange(48)[None],
    }
    save_file(held | more, folder / "model.safetensors")
    load(folder)
    assert "'roberta.pooler.dense.weight' (1 such)" in caplog.text
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["RobertaForMaskedLM"]
