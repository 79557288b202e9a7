"""Mixtral: logits, gradients, balance and directories are those of transformers."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import danlu
from danlu.core.batch import IGNORE, Batch
from danlu.core.errors import CheckpointError, ConfigError
from danlu.core.spec import Spec
from danlu.models import build, save
from danlu.models.reading import entries_of
from danlu.nn.layout import Layout
from danlu.objectives.next_token import NextToken

SIZES = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "num_local_experts": 4, "router_aux_loss_coef": 0.3,
}  # fmt: skip
FORMS = {
    "eight experts": {"num_local_experts": 8},
    "one of three": {"num_local_experts": 3, "num_experts_per_tok": 1},
    "all of four": {"num_experts_per_tok": 4},
    "windowed": {"sliding_window": 7},
    "tied, wide heads, gelu": {"tie_word_embeddings": True, "head_dim": 12, "hidden_act": "gelu"},
}
TOKENS = torch.randint(0, 97, (2, 40), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("form", FORMS)
def test_logits_and_directories_agree(form, twins, reopened) -> None:
    theirs, ours, _ = twins("mixtral", **{**SIZES, **FORMS[form]})
    with torch.no_grad():
        expected = theirs(TOKENS).logits
        torch.testing.assert_close(ours(TOKENS), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(reopened(ours)(TOKENS).logits, expected, atol=1e-4, rtol=1e-4)


def theirs_of(model, name: str) -> torch.Tensor:
    """The gradient of a published tensor: transformers stacks experts, gate before up."""
    named = dict(model.named_parameters())
    name = name.replace(".block_sparse_moe.", ".mlp.")
    if ".experts." not in name:
        return named[name].grad
    layer, expert, which, _ = name.replace(".experts.", "|").replace(".w", "|", 1).replace(".weight", "|").split("|")
    if which == "2":
        return named[f"{layer}.experts.down_proj"].grad[int(expert)]
    return named[f"{layer}.experts.gate_up_proj"].grad[int(expert)].chunk(2)[which == "3"]


def assert_gradients_agree(theirs, ours) -> None:
    parameters = dict(ours.named_parameters())
    for entry in entries_of(ours):
        found = entry.pack(entry.of({name: p.grad for name, p in parameters.items()}))
        torch.testing.assert_close(found, theirs_of(theirs, entry.name), atol=1e-5, rtol=1e-4, msg=entry.name)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("recompute", [False, True])
def test_the_training_loss_agrees_with_its_balance_and_gradients(padded, recompute, twins) -> None:
    theirs, ours, _ = twins("mixtral", **SIZES)
    segment = torch.ones_like(TOKENS)
    if padded:
        segment[0, 25:] = 0
    position = torch.arange(40).expand(2, 40)
    labels = TOKENS.masked_fill(segment == 0, IGNORE)
    out = theirs.train()(TOKENS, attention_mask=segment, labels=labels, output_router_logits=True)
    out.loss.backward()
    ours.recompute = recompute
    targets = torch.cat([labels[:, 1:], torch.full((2, 1), IGNORE)], 1)
    batch = Batch(TOKENS, targets, (targets != IGNORE).float(), segment, position)
    loss = NextToken().loss(ours.train(), batch)
    (loss.total / loss.weight).backward()
    assert (loss.total / loss.weight).item() == pytest.approx(out.loss.item(), rel=1e-5)
    assert (loss.metrics["balance"] / loss.weight).item() == pytest.approx(0.3 * out.aux_loss.item(), rel=1e-5)
    assert_gradients_agree(theirs, ours)
    assert 0.25 <= (loss.metrics["busiest_expert"] / loss.weight).item() <= 1
    assert loss.metrics["dropped_choices"].item() == 0


def test_padding_and_packing_agree(twins) -> None:
    theirs, ours, _ = twins("mixtral", **SIZES)
    segment = torch.ones_like(TOKENS)
    segment[0, :15] = 0
    position = (segment.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        expected = theirs(TOKENS, attention_mask=segment, position_ids=position).logits
        found = ours(TOKENS, Layout(position, segment))
        torch.testing.assert_close(found[segment == 1], expected[segment == 1], atol=1e-4, rtol=1e-4)
        assert found.isfinite().all()


def test_greedy_text_agrees(twins) -> None:
    theirs, ours, _ = twins("mixtral", **SIZES)
    from danlu.nn.caches import CACHES

    store, token, said = CACHES["slab"](ours.dims, 1, 20), TOKENS[:1, :5], []
    with torch.no_grad():
        for at in [0, *range(5, 14)]:
            token = ours(token, Layout.dense(token, store, at))[:, -1:].argmax(-1)
            said.append(int(token))
        expected = theirs.generate(
            TOKENS[:1, :5], max_new_tokens=10, do_sample=False, eos_token_id=None, pad_token_id=0
        )
    assert said == expected[0, 5:].tolist()


def test_frozen_experts_keep_their_weights_and_their_published_names(twins, tmp_path) -> None:
    _, ours, folder = twins("mixtral", **SIZES)
    recipe = ours.recipe.write()
    recipe["ffn"]["frozen"] = [2, 0]
    (folder / "danlu").mkdir()
    (folder / "danlu/recipe.json").write_text(json.dumps(recipe))
    frozen, _ = danlu.load(folder)
    frozen.train()(TOKENS).square().mean().backward()
    before = {name: p.detach().clone() for name, p in frozen.named_parameters()}
    torch.optim.AdamW([p for p in frozen.parameters() if p.requires_grad], lr=0.1, weight_decay=1.0).step()
    again = load_file(save(frozen, None, tmp_path / "again") / "model.safetensors")
    first = load_file(folder / "model.safetensors")
    for name, tensor in first.items():
        held = any(f"experts.{expert}." in name for expert in (0, 2))
        assert torch.equal(again[name], tensor) == held, name
    assert all(torch.equal(p, before[n]) for n, p in frozen.named_parameters() if n.endswith(".frozen"))
    with torch.no_grad():
        torch.testing.assert_close(danlu.load(tmp_path / "again")[0](TOKENS), frozen.eval()(TOKENS))


def test_a_bad_shape_and_a_missing_expert_are_named(twins) -> None:
    _, _, folder = twins("mixtral", **SIZES)
    held = load_file(folder / "model.safetensors")
    name = "model.layers.1.block_sparse_moe.experts.3.w2.weight"
    save_file({**held, name: torch.zeros(32, 23)}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"experts\.3\.w2\.weight' has shape \[32, 23\].*asks for \[32, 24\]"):
        danlu.load(folder)
    del held[name]
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"experts\.3\.w2\.weight' of shape \[32, 24\] is missing"):
        danlu.load(folder)


@pytest.mark.parametrize(
    "change",
    [{"shared": 1}, {"bias": True}, {"expert": "relu"}, {"router": {"use": "noisy"}}, {"router": {"use": "top_k", "renormalize": False}}],
)  # fmt: skip
def test_what_mixtral_cannot_say_is_refused(change, tmp_path) -> None:
    from dataclasses import replace

    model = build(Spec("mixtral", {"model": 16, "layers": 1, "heads": 2, "context": 8, "ffn": 8}), vocab=20)
    ffn = model.recipe.ffn
    model.recipe = replace(model.recipe, ffn=Spec("moe", {**ffn.settings, **change}))
    with pytest.raises(ConfigError, match="save the model as family decoder"):
        save(model, None, tmp_path / "model")


def test_the_count_of_8x7b_is_that_of_transformers() -> None:
    import transformers

    from danlu.models import on_meta
    from danlu.models.families import FAMILIES
    from danlu.models.families.formula import counted
    from danlu.models.published import Settings

    config = transformers.MixtralConfig()
    recipe = FAMILIES["mixtral"].published.read(Settings(config.to_dict(), "here"))
    with torch.device("meta"):
        expected = sum(p.numel() for p in transformers.MixtralForCausalLM(config).parameters())
    assert sum(p.numel() for p in on_meta(recipe).parameters()) == expected == 46_702_792_704
    assert counted(FAMILIES["mixtral"].formula, recipe) == expected
