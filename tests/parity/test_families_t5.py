"""T5 1.0 and 1.1: logits, gradients, directories and greedy answers are those of transformers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from danlu import load, save
from danlu.models.reading import entries_of

SIZES = {"vocab_size": 97, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.0}
FORMS = {
    "1.0": {},
    "deeper decoder": {"num_decoder_layers": 3},
    "heads wider than the model": {"d_kv": 16},
    "few buckets": {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 16},
    "other eps": {"layer_norm_epsilon": 1e-3},
    "gated, tied, unscaled": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    "gated silu": {"feed_forward_proj": "gated-silu"},
}
AUTO = "AutoModelForSeq2SeqLM"
RANDOM = torch.Generator().manual_seed(1)
SOURCE = torch.randint(2, 97, (3, 40), generator=RANDOM)
TARGET = torch.randint(2, 97, (3, 21), generator=RANDOM)
SEEN = torch.ones_like(SOURCE)
SEEN[1, 25:] = 0
SEEN[2, 7:] = 0


def said(theirs, target=TARGET):
    return theirs(input_ids=SOURCE, attention_mask=SEEN, decoder_input_ids=target).logits


@pytest.fixture
def untied(twins, tmp_path):
    """Version 1.1 as published: transformers' model with a head of its own, and danlu's of the same directory."""
    theirs, _, folder = twins("t5", auto=AUTO, **SIZES, feed_forward_proj="gated-gelu", tie_word_embeddings=False)
    theirs.lm_head.weight = torch.nn.Parameter(torch.randn(97, 32, generator=RANDOM) * 0.3)
    theirs.config.tie_word_embeddings = False
    theirs.save_pretrained(tmp_path / "untied")
    return theirs, load(tmp_path / "untied")[0], folder


@pytest.mark.parametrize("form", FORMS)
def test_logits_and_directories_agree(form, twins, reopened) -> None:
    theirs, ours, _ = twins("t5", auto=AUTO, **(SIZES | FORMS[form]))
    with torch.no_grad():
        expected = said(theirs)
        torch.testing.assert_close(ours.translate(SOURCE, TARGET, SEEN), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(said(reopened(ours, AUTO)), expected, atol=1e-4, rtol=1e-4)


def test_a_head_of_its_own_is_read_and_written(untied, reopened) -> None:
    theirs, ours, _ = untied
    assert not ours.recipe.decoder.tied
    with torch.no_grad():
        expected = said(theirs)
        torch.testing.assert_close(ours.translate(SOURCE, TARGET, SEEN), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(said(reopened(ours, AUTO)), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("form", ["1.0", "gated, tied, unscaled"])
def test_gradients_agree(form, twins) -> None:
    theirs, ours, _ = twins("t5", auto=AUTO, **(SIZES | FORMS[form]))
    for logits in (said(theirs.train()), ours.train().translate(SOURCE, TARGET, SEEN)):
        torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), TARGET[:, 1:].flatten()).backward()
    named, parameters = dict(theirs.named_parameters()), dict(ours.named_parameters())
    assert all(p.grad is not None for p in parameters.values())
    for entry in entries_of(ours):
        grads = [parameters[name].grad for name in entry.ours]
        torch.testing.assert_close(entry.pack(grads), named[entry.name].grad, atol=1e-5, rtol=1e-4)


def test_greedy_answers_agree(twins) -> None:
    """Prompts of unlike lengths, padded there and here, through every cache."""
    from danlu.infer.packed import Prepared
    from danlu.infer.runner import Runner

    theirs, ours, _ = twins("t5", auto=AUTO, **SIZES)
    with torch.no_grad():
        for model in (theirs.shared, ours.embed):
            model.weight.mul_(4)  # decides firmly
    expected = theirs.generate(
        SOURCE,
        attention_mask=SEEN,
        max_new_tokens=20,
        min_new_tokens=20,
        do_sample=False,
        eos_token_id=96,
        decoder_start_token_id=0,
        pad_token_id=0,
    )
    prompts = [row[: int(seen.sum())].tolist() for row, seen in zip(SOURCE, SEEN, strict=True)]
    for cache in ("none", "growing", "slab"):
        runner = Runner(Prepared(ours), cache=cache)
        rows = [runner.start(prompts, 20)[:, :96].argmax(-1)]  # it must not stop yet, as transformers was told
        while len(rows) < 20:
            rows.append(runner.step(rows[-1])[:, :96].argmax(-1))
        assert torch.equal(torch.stack(rows, 1), expected[:, 1:]), cache


def test_the_interop_model_gives_its_reference_logits(shared) -> None:
    folder = shared / "interop/t5"
    reference = {name: torch.from_numpy(found) for name, found in np.load(folder / "reference.npz").items()}
    model, _ = load(folder)
    with torch.no_grad():
        found = model.translate(
            reference["in_input_ids"], reference["in_decoder_input_ids"], reference["in_attention_mask"]
        )
    torch.testing.assert_close(found, reference["out_logits"], atol=1e-4, rtol=1e-4)


def test_copies_in_older_files_are_passed_over(twins, tmp_path) -> None:
    """t5-small on the hub repeats its table; some files carry a table that cross-attention never used."""
    from safetensors.torch import load_file, save_file

    _, ours, folder = twins("t5", auto=AUTO, **SIZES)
    tensors = load_file(folder / "model.safetensors")
    copies = {f"{side}.embed_tokens.weight": tensors["shared.weight"].clone() for side in ("encoder", "decoder")}
    tensors |= copies | {"lm_head.weight": tensors["shared.weight"].clone()}
    tensors["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"] = torch.ones(32, 4)
    (tmp_path / "old").mkdir()
    save_file(tensors, tmp_path / "old/model.safetensors")
    raw = json.loads((folder / "config.json").read_text())
    for new in ("scale_decoder_outputs", "dense_act_fn", "is_gated_act", "tie_word_embeddings"):
        raw.pop(new, None)
    (tmp_path / "old/config.json").write_text(json.dumps(raw | {"n_positions": 512}))
    with torch.no_grad():
        again = load(tmp_path / "old")[0].translate(SOURCE, TARGET, SEEN)
        assert torch.equal(again, ours.translate(SOURCE, TARGET, SEEN))


def test_another_head_than_the_table_is_not_lost(untied, tmp_path) -> None:
    _, ours, _ = untied
    again, _ = load(save(ours, None, tmp_path / "again"))
    assert again.recipe == ours.recipe
    assert torch.equal(again.head.weight, ours.head.weight)
    assert not torch.equal(again.head.weight, again.embed.weight)
