"""The whole decoder against the sum of its parts by hand, and counts of parameters in closed form."""

from __future__ import annotations

import json
import math

import pytest
import torch

from danlu.core.spec import Spec
from danlu.models import build, on_meta, recipe_of
from danlu.models.families import FAMILIES, of_type
from danlu.models.published import Settings
from danlu.nn.layout import Layout


def test_two_tokens_by_hand() -> None:
    """One layer, one head, rope, rms, swiglu, tied: written out with matrices."""
    sizes = {"model": 4, "layers": 1, "heads": 1, "context": 4, "width": 6}
    model = build(Spec("decoder", sizes), vocab=7).double().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.double))
    at = {name: p.detach() for name, p in model.named_parameters()}

    def rms(x: torch.Tensor, name: str) -> torch.Tensor:
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * at[name]

    def turned(x: torch.Tensor) -> torch.Tensor:
        units = torch.polar(
            torch.ones(2, 2).double(), torch.outer(torch.arange(2.0), torch.tensor([1.0, 0.01])).double()
        )
        z = torch.complex(x[:, :2], x[:, 2:]) * units
        return torch.cat([z.real, z.imag], -1)

    block = "blocks.0.sublayers"
    x = at["embed.weight"][[3, 5]]
    h = rms(x, "blocks.0.norms.attention.weight")
    q, k, v = (h @ at[f"{block}.attention.{name}.weight"].T for name in "qkv")
    scores = turned(q) @ turned(k).T / 2
    weight = torch.tensor([[1.0, 0.0], [0.0, 0.0]]).double()
    weight[1] = scores[1].softmax(-1)
    x = x + weight @ v @ at[f"{block}.attention.o.weight"].T
    h = rms(x, "blocks.0.norms.ffn.weight")
    gate, up = h @ at[f"{block}.ffn.gate.weight"].T, h @ at[f"{block}.ffn.up.weight"].T
    x = x + (gate * gate.sigmoid() * up) @ at[f"{block}.ffn.down.weight"].T
    logits = rms(x, "norm.weight") @ at["embed.weight"].T
    with torch.no_grad():
        torch.testing.assert_close(model(torch.tensor([[3, 5]]))[0], logits, atol=1e-6, rtol=1e-6)


def test_parameters_of_public_models_come_out_to_the_last_digit(shared) -> None:
    types = {"LlamaForCausalLM": "llama", "GPT2LMHeadModel": "gpt2"}
    counted = 0
    for row in json.loads((shared / "theory/parameter_counts.json").read_text()):
        if (model_type := types.get(row["hf_class"])) is None:
            continue
        raw = {"max_position_embeddings": 2048, **row["config"]}
        model = on_meta(of_type(model_type, "here").published.read(Settings(raw, row["name"])))
        assert sum(p.numel() for p in model.parameters()) == row["parameters"], row["name"]
        counted += 1
    assert counted == 6


@pytest.mark.parametrize(
    ("family", "settings", "expected"),
    [
        ("qwen2", {"model": 896, "layers": 24, "heads": 14, "kv_heads": 2, "ffn": 4864}, 494_032_768),
        ("qwen2", {"model": 2048, "layers": 36, "heads": 16, "kv_heads": 2, "ffn": 11008}, 3_085_938_688),
        ("qwen3", {"model": 1024, "layers": 28, "heads": 16, "kv_heads": 8, "ffn": 3072}, 596_049_920),
        ("mistral", {"model": 4096, "layers": 32, "heads": 32, "kv_heads": 8, "ffn": 14336}, 7_241_732_096),
    ],
)
def test_parameters_of_released_checkpoints(family, settings, expected) -> None:
    """Published totals of Qwen2-0.5B, Qwen2.5-3B, Qwen3-0.6B and Mistral-7B-v0.1."""
    vocab = 32_000 if family == "mistral" else 151_936
    model = on_meta(recipe_of(Spec(family, {"context": 32768, **settings}), vocab=vocab))
    assert sum(p.numel() for p in model.parameters()) == expected


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("ffn", ["swiglu", "relu"])
@pytest.mark.parametrize("position", ["rope", "learned"])
def test_the_count_is_a_closed_form(tied, ffn, position) -> None:
    v, m, n, h, k, d, w, c = 101, 24, 3, 4, 2, 10, 50, 17
    sizes = {"model": m, "layers": n, "heads": h, "kv_heads": k, "head": d, "width": w, "context": c}
    recipe = recipe_of(Spec("decoder", {**sizes, "tied": tied, "ffn": ffn, "position": position}), vocab=v)
    attention, maps = 2 * m * h * d + 2 * m * k * d, 3 if ffn == "swiglu" else 2
    expected = (
        v * m * (1 if tied else 2)
        + n * (attention + maps * m * w + 2 * m)
        + m
        + (c * m if position == "learned" else 0)
    )
    assert sum(p.numel() for p in on_meta(recipe).parameters()) == expected


def test_newborn_residual_projections_are_smaller_by_depth() -> None:
    sizes = {"model": 128, "layers": 8, "heads": 4, "context": 16}
    model = build(Spec("llama", sizes), vocab=500, seed=1)
    block = model.blocks[5].sublayers
    assert block["attention"].o.weight.std().item() == pytest.approx(0.02 / math.sqrt(16), rel=0.03)
    assert block["ffn"].down.weight.std().item() == pytest.approx(0.02 / math.sqrt(16), rel=0.03)
    assert block["ffn"].gate.weight.std().item() == pytest.approx(0.02, rel=0.03)


def test_spans_are_found_on_the_host() -> None:
    segment = torch.tensor([[1, 1, 2, 2, 0], [0, 4, 4, 4, 0]])
    position = torch.tensor([[0, 1, 0, 1, 0], [7, 0, 1, 2, 9]])
    assert Layout.of(position, segment).spans == ((0, 0, 2), (0, 2, 4), (1, 1, 4))
    assert not Layout.of(position, segment).plain
    assert Layout.of(torch.arange(4)[None], torch.ones(1, 4).long()).plain
    assert Layout.of(torch.tensor([[1, 2]]), torch.tensor([[1, 1]])).spans is None  # does not count from 0
    assert Layout.of(torch.tensor([[0, 2]]), torch.tensor([[1, 1]])).spans is None  # has a gap
    assert Layout.of(torch.tensor([[0, 0, 1]]), torch.tensor([[1, 2, 1]])).spans is None  # comes back


def test_every_family_says_how_it_is_published() -> None:
    for name in FAMILIES:
        published = FAMILIES[name].published
        assert of_type(published.model_type, "here") is FAMILIES[name]
