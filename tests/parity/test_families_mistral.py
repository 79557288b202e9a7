"""Mistral: logits are those of transformers within the window and beyond it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from danlu import load
from danlu.nn.layout import Layout

SIZES = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip
TOKENS = torch.randint(0, 97, (2, 40), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("window", [1, 5, 39, 40, 64, None])
def test_logits_and_directories_agree(window, twins, reopened) -> None:
    theirs, ours, _ = twins("mistral", sliding_window=window, **SIZES)
    with torch.no_grad():
        expected = theirs(TOKENS).logits
        torch.testing.assert_close(ours(TOKENS), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(reopened(ours)(TOKENS).logits, expected, atol=1e-4, rtol=1e-4)


def test_packed_documents_keep_their_windows(twins) -> None:
    theirs, ours, _ = twins("mistral", sliding_window=5, **SIZES)
    lengths = [23, 4, 13]
    at = torch.cat([torch.arange(n) for n in lengths])[None]
    document = torch.repeat_interleave(torch.tensor([1, 2, 3]), torch.tensor(lengths))[None]
    with torch.no_grad():
        alone = torch.cat([theirs(part).logits for part in TOKENS[:1].split(lengths, 1)], 1)
        torch.testing.assert_close(ours(TOKENS[:1], Layout.of(at, document)), alone, atol=1e-4, rtol=1e-4)


def test_the_interop_model_gives_its_reference_logits(shared) -> None:
    folder = shared / "interop/mistral_sliding_window"
    reference = np.load(folder / "reference.npz")
    model, _ = load(folder)
    tokens = torch.from_numpy(reference["in_input_ids"]).long()
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), torch.from_numpy(reference["out_logits"]), atol=1e-4, rtol=1e-4)
