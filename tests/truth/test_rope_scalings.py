"""Scalings of rope against shared reference values, transformers' functions and their own algebra."""

from __future__ import annotations

import json
import math

import pytest
import torch

from danlu.core.errors import ConfigError
from danlu.nn.dims import Dims
from danlu.nn.layout import Layout
from danlu.nn.positions.rope import Rope
from danlu.nn.scalings import plain
from danlu.nn.scalings.dynamic import Dynamic
from danlu.nn.scalings.interpolation import Interpolation
from danlu.nn.scalings.llama3 import Llama3
from danlu.nn.scalings.none import Unscaled
from danlu.nn.scalings.ntk import Ntk
from danlu.nn.scalings.ntk_parts import NtkParts
from danlu.nn.scalings.yarn import Yarn


def test_shared_reference_values(shared) -> None:
    reference = json.loads((shared / "theory/rope.json").read_text())
    size, base = reference["dim"], reference["theta"]
    cases = {
        "default": Unscaled(),
        "linear": Interpolation(factor=reference["cases"]["linear"]["args"]["factor"]),
        "yarn": Yarn(factor=reference["cases"]["yarn"]["args"]["factor"], original=2048),
    }
    for name, scaling in cases.items():
        waves, gain = scaling.frequencies(size, base)
        torch.testing.assert_close(waves, torch.tensor(reference["cases"][name]["inv_freq"]), rtol=1e-6, atol=0)
        assert gain == pytest.approx(reference["cases"][name]["attention_factor"], rel=1e-7)


def test_plain_waves_are_a_geometric_series() -> None:
    waves, gain = Unscaled().frequencies(64, 1e4)
    assert gain == 1.0
    assert waves[0] == 1.0
    ratios = waves[1:] / waves[:-1]
    torch.testing.assert_close(ratios, torch.full((31,), 1e4 ** (-2 / 64)))


def test_interpolated_positions_turn_as_the_trained_ones_did() -> None:
    waves, _ = Interpolation(factor=4.0).frequencies(64, 1e4)
    torch.testing.assert_close(4 * 17 * waves, 17 * plain(64, 1e4))


def test_ntk_keeps_the_fastest_wave_and_interpolates_the_slowest() -> None:
    waves, _ = Ntk(factor=8.0).frequencies(64, 1e4)
    assert waves[0] == 1.0
    assert waves[-1].item() == pytest.approx(plain(64, 1e4)[-1].item() / 8, rel=1e-5)
    stretched = 1e4 * 8 ** (64 / 62)
    torch.testing.assert_close(waves, torch.tensor([stretched ** (-2 * i / 64) for i in range(32)]), rtol=1e-5, atol=0)


def test_llama3_keeps_short_waves_and_interpolates_long_ones() -> None:
    waves, gain = Llama3(factor=8.0, low=1.0, high=4.0, original=8192).frequencies(128, 5e5)
    assert gain == 1.0
    for found, wave in zip(waves.tolist(), plain(128, 5e5).tolist(), strict=True):
        length = 2 * math.pi / wave
        if length < 8192 / 4:
            assert found == wave
        elif length > 8192:
            assert found == pytest.approx(wave / 8, rel=1e-6)
        else:
            share = (8192 / length - 1) / 3
            assert found == pytest.approx(share * wave + (1 - share) * wave / 8, rel=1e-5)


def test_yarn_turns_decide() -> None:
    """Waves with more than 32 turns in the trained length stay, those with less than one are interpolated."""
    waves, gain = Yarn(factor=16.0, original=4096, truncate=False).frequencies(128, 1e4)
    assert gain == pytest.approx(0.1 * math.log(16) + 1)
    for found, wave in zip(waves.tolist(), plain(128, 1e4).tolist(), strict=True):
        turns = 4096 * wave / (2 * math.pi)
        if turns > 32:
            assert found == pytest.approx(wave, rel=1e-6)
        elif turns < 1:
            assert found == pytest.approx(wave / 16, rel=1e-6)
        else:
            assert wave / 16 * (1 - 1e-6) <= found <= wave * (1 + 1e-6)


def test_ntk_by_parts_is_its_definition() -> None:
    """γ(r) ramps over the turns r within the trained length; θ' = (1 - γ) θ / s + γ θ."""
    waves, gain = NtkParts(factor=8.0, original=4096, fast=16.0, slow=2.0).frequencies(128, 1e4)
    assert gain == 1.0
    kinds = set()
    for i, found in enumerate(waves.tolist()):
        wave = 1e4 ** (-2 * i / 128)
        turns = 4096 * wave / (2 * math.pi)
        share = 0.0 if turns < 2 else 1.0 if turns > 16 else (turns - 2) / 14
        kinds.add(share if share in (0, 1) else "between")
        assert found == pytest.approx((1 - share) * wave / 8 + share * wave, rel=1e-5)
    assert kinds == {0, 1, "between"}


def at(*positions: int, plain: bool = True) -> Layout:
    position = torch.tensor([positions])
    return Layout(position, torch.ones_like(position), plain=plain)


@pytest.mark.parametrize("plainly", [True, False])
@pytest.mark.parametrize(("size", "base"), [(64, 1e4), (128, 5e5), (8, 1e6)])
@pytest.mark.parametrize("length", [1, 100, 101, 150, 400, 3000])
def test_dynamic_ntk_at_every_length_is_that_of_transformers(plainly, size, base, length) -> None:
    transformers = pytest.importorskip("transformers")
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rope = {"rope_type": "dynamic", "rope_theta": base, "factor": 3.0}
    config = transformers.LlamaConfig(
        hidden_size=size, num_attention_heads=1, max_position_embeddings=100, rope_parameters=rope
    )
    expected, factor = ROPE_INIT_FUNCTIONS["dynamic"](config, "cpu", seq_len=length)
    scaling = Dynamic(factor=3.0, original=100)
    waves, gain = scaling.frequencies(size, base)
    found = scaling.reached(waves, at(*range(length), plain=plainly))
    torch.testing.assert_close(found[:, 0, 0], expected[None], rtol=1e-5, atol=0)
    assert gain == factor == 1.0


def test_dynamic_ntk_within_the_trained_length_is_plain() -> None:
    rope, x = Rope(Dims(vocab=1, model=8, heads=1, layers=1, context=9), scaling=Dynamic(factor=4.0, original=9)), ONE
    assert torch.equal(
        rope.rotate(x, at(0, 8)), Rope(Dims(vocab=1, model=8, heads=1, layers=1, context=9)).rotate(x, at(0, 8))
    )


ONE = torch.randn(1, 2, 1, 8, generator=torch.Generator().manual_seed(0))


def test_dynamic_ntk_knows_each_document_by_its_own_length() -> None:
    """Packed, padded, or in a batch with longer rows: the waves of a document are those it has alone."""
    scaling = Dynamic(factor=2.0, original=4)
    waves, _ = scaling.frequencies(16, 1e4)
    position = torch.tensor([[0, 1, 2, 3, 4, 5, 0, 1, 2], [0, 0, 0, 1, 2, 3, 4, 5, 6]])
    segment = torch.tensor([[1] * 6 + [2] * 3, [0, 0] + [5] * 7])
    found = scaling.reached(waves, Layout(position, segment))
    assert found.shape == (2, 9, 1, 8)
    for row, start, stop in ((0, 0, 6), (0, 6, 9), (1, 2, 9)):
        alone = scaling.reached(waves, at(*range(stop - start)))
        torch.testing.assert_close(found[row, start:stop], alone[0].expand(stop - start, 1, 8))


def test_dynamic_ntk_logits_are_those_of_transformers_whole_and_cached(tmp_path) -> None:
    """Beyond the trained length; cached keys stay turned as they were made, here as there."""
    transformers = pytest.importorskip("transformers")
    from danlu.core.spec import Spec
    from danlu.models import build, save
    from danlu.nn.caches import CACHES

    position = {"use": "rope", "scaling": {"use": "dynamic", "factor": 2.0, "original": 16}}
    sizes = {"model": 32, "layers": 2, "heads": 4, "context": 16, "kv_heads": 2}
    ours = build(Spec("llama", {**sizes, "position": position}), vocab=40).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(save(ours, None, tmp_path / "model"))
    tokens = torch.randint(0, 40, (1, 40), generator=generator)
    store = CACHES["slab"](ours.dims, 1, 40)
    with torch.no_grad():
        whole = theirs(tokens, use_cache=False).logits
        torch.testing.assert_close(ours(tokens), whole, atol=1e-4, rtol=1e-4)
        cuts, kept, steps = [(0, 12), (12, 18), *((i, i + 1) for i in range(18, 40))], None, []
        for a, b in cuts:
            answer = theirs(tokens[:, a:b], past_key_values=kept, use_cache=True)
            kept = answer.past_key_values
            steps.append(answer.logits)
        ours_steps = [ours(tokens[:, a:b], Layout.dense(tokens[:, a:b], store, a)) for a, b in cuts]
    torch.testing.assert_close(torch.cat(ours_steps, 1), torch.cat(steps, 1), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(torch.cat(ours_steps, 1), whole, atol=1e-3)  # what the docstring warns of


SETTINGS = [
    ("linear", Interpolation(factor=3.0), {"factor": 3.0}),
    ("yarn", Yarn(factor=4.0, original=64), {"factor": 4.0, "original_max_position_embeddings": 64}),
    (
        "yarn",
        Yarn(factor=40.0, original=4096, fast=16.0, slow=2.0, truncate=False, gain=0.7),
        {
            "factor": 40.0, "original_max_position_embeddings": 4096, "beta_fast": 16.0, "beta_slow": 2.0,
            "truncate": False, "attention_factor": 0.7,
        },
    ),
    ("yarn", Yarn(factor=1.0, original=64), {"factor": 1.0, "original_max_position_embeddings": 64}),
    ("yarn", Yarn(factor=2.0, original=8), {"factor": 2.0, "original_max_position_embeddings": 8}),
    (
        "llama3",
        NtkParts(factor=4.0, original=2048, slow=1.0, fast=32.0),
        {"factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 32.0, "original_max_position_embeddings": 2048},
    ),
    (
        "llama3",
        Llama3(factor=32.0, low=1.0, high=4.0, original=128),
        {"factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 128},
    ),
    (
        "llama3",
        Llama3(factor=8.0, low=1.5, high=3.0, original=8192),
        {"factor": 8.0, "low_freq_factor": 1.5, "high_freq_factor": 3.0, "original_max_position_embeddings": 8192},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "scaling", "settings"), SETTINGS)
@pytest.mark.parametrize(("size", "base"), [(64, 1e4), (128, 5e5), (32, 1e6)])
def test_transformers_gives_the_same(kind, scaling, settings, size, base) -> None:
    transformers = pytest.importorskip("transformers")
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rope = {"rope_type": kind, "rope_theta": base, **settings}
    config = transformers.LlamaConfig(
        hidden_size=size, num_attention_heads=1, max_position_embeddings=8192, rope_parameters=rope
    )
    expected, factor = ROPE_INIT_FUNCTIONS[kind](config, "cpu")
    waves, gain = scaling.frequencies(size, base)
    torch.testing.assert_close(waves, expected, rtol=1e-6, atol=0)
    assert gain == pytest.approx(factor)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Interpolation(factor=0), "factor must be above 0, found 0"),
        (lambda: Ntk(factor=-1), "factor must be above 0, found -1"),
        (lambda: Ntk(factor=2).frequencies(2, 1e4), "4 channels that turn, found 2"),
        (lambda: Dynamic(factor=2, original=0), "original must be above 0, found 0"),
        (lambda: NtkParts(factor=2, fast=1, slow=1), "found 1 and 1 turns"),
        (lambda: Yarn(factor=2, fast=1, slow=32), "found 1 and 32 turns"),
        (lambda: Llama3(low=4, high=1), "found 1 and 4 turns"),
    ],
)
def test_settings_that_stretch_nothing_are_refused(make, says) -> None:
    with pytest.raises(ConfigError, match=says):
        make()
