"""GPT-2: logits, gradients and directories are those of transformers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from danlu import load
from danlu.models.reading import entries_of
from danlu.nn.layout import Layout

SIZES = {"vocab_size": 97, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
QUIET = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
FORMS = {
    "as published": {},
    "narrow": {"n_inner": 40},
    "exact gelu": {"activation_function": "gelu"},
    "relu": {"activation_function": "relu"},
    "untied": {"tie_word_embeddings": False},
    "other eps": {"layer_norm_epsilon": 1e-3},
}
TOKENS = torch.randint(0, 97, (2, 40), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("form", FORMS)
def test_logits_and_directories_agree(form, twins, reopened) -> None:
    theirs, ours, _ = twins("gpt2", **SIZES, **FORMS[form])
    with torch.no_grad():
        expected = theirs(TOKENS).logits
        torch.testing.assert_close(ours(TOKENS), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(reopened(ours)(TOKENS).logits, expected, atol=1e-4, rtol=1e-4)


def test_gradients_agree(twins) -> None:
    theirs, ours, _ = twins("gpt2", **SIZES, **QUIET)
    for model in (theirs.train(), ours.train()):
        logits = model(TOKENS)
        logits = getattr(logits, "logits", logits)
        torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), TOKENS[:, 1:].flatten()).backward()
    named, parameters = dict(theirs.named_parameters()), dict(ours.named_parameters())
    for entry in entries_of(ours):
        grads = [parameters[name].grad for name in entry.ours]
        torch.testing.assert_close(entry.pack(grads), named[entry.name].grad, atol=1e-5, rtol=1e-4)


def test_padding_agrees(twins) -> None:
    theirs, ours, _ = twins("gpt2", **SIZES)
    segment = torch.ones_like(TOKENS)
    segment[1, 25:] = 0
    position = (segment.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        expected = theirs(TOKENS, attention_mask=segment, position_ids=position).logits
        found = ours(TOKENS, Layout.of(position, segment))
    torch.testing.assert_close(found[segment == 1], expected[segment == 1], atol=1e-4, rtol=1e-4)


def test_names_without_prefix_and_old_buffers_are_read(twins, tmp_path) -> None:
    """The file on the hub calls the tensors wte.weight, h.0.attn.c_attn.weight, … and carries masks as h.0.attn.bias."""
    from safetensors.torch import load_file, save_file

    _, ours, folder = twins("gpt2", **SIZES)
    old = {
        name.removeprefix("transformer."): tensor for name, tensor in load_file(folder / "model.safetensors").items()
    }
    old |= {f"h.{i}.attn.bias": torch.ones(1, 1, 64, 64).tril() for i in range(2)}
    (tmp_path / "old").mkdir()
    save_file(old, tmp_path / "old/model.safetensors")
    (tmp_path / "old/config.json").write_text((folder / "config.json").read_text())
    with torch.no_grad():
        assert torch.equal(load(tmp_path / "old")[0](TOKENS), ours(TOKENS))


def test_the_interop_model_gives_its_reference_logits(shared) -> None:
    folder = shared / "interop/gpt2"
    reference = np.load(folder / "reference.npz")
    model, _ = load(folder)
    tokens = torch.from_numpy(reference["in_input_ids"]).long()
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), torch.from_numpy(reference["out_logits"]), atol=1e-4, rtol=1e-4)


def test_token_ids_and_generation_settings_survive(twins, tmp_path) -> None:
    from danlu import save

    _, ours, folder = twins("gpt2", **SIZES, bos_token_id=3, eos_token_id=[4, 5])
    (folder / "generation_config.json").write_text('{"temperature": 0.7}')
    ours, _ = load(folder)
    again = save(ours, None, tmp_path / "again")
    assert json.loads((again / "generation_config.json").read_text()) == {"temperature": 0.7}
    raw = json.loads((again / "config.json").read_text())
    assert (raw["bos_token_id"], raw["eos_token_id"]) == (3, [4, 5])
