"""Scalings of rope against shared reference values, transformers' functions and their own algebra."""

from __future__ import annotations

import json
import math

import pytest
import torch

from danlu.nn.scalings import plain
from danlu.nn.scalings.interpolation import Interpolation
from danlu.nn.scalings.llama3 import Llama3
from danlu.nn.scalings.none import Unscaled
from danlu.nn.scalings.ntk import Ntk
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
