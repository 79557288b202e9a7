"""A step in shapes that never change says what the engine's own pass says."""

from __future__ import annotations

import pytest
import torch
from talkers import small_model

from danlu.infer.static_step import Feed, StaticSteps
from danlu.nn.pages.plain import Plain
from danlu.nn.ragged import Ragged, Text

SIZE = 4
DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=[pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
    ),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("use", ["llama", "gpt2", "bloom", "mistral"])
@torch.inference_mode()
def test_rows_of_any_length_step_by_step(use: str, device: str) -> None:
    model = small_model(use).to(device)
    pages = Plain(model.dims, 41, SIZE, dtype=torch.float32, device=device)
    tables = [(7, 3, 9, 12), (20, 21, 22, 23, 24), (1, 0), (30,)]
    texts = [list(range(10, 10 + n)) for n in (13, 17, 5, 2)]
    for pool in (pages.k, pages.v):
        pool.fill_(torch.nan)  # memory that nobody wrote to may hold anything
    steps, random = StaticSteps(model, pages, spare=40), torch.Generator().manual_seed(0)
    for table, ids in zip(tables, texts, strict=True):
        layout = Ragged(pages, [Text(table, 0, len(ids))]).layout()
        model.hidden(torch.tensor([ids], device=device), layout)
    for turn in range(3):
        shown = slice(0, 4 - turn)  # rows leave
        new = torch.randint(3, 200, (4,), generator=random).tolist()
        feeds = [Feed(token, len(ids), table) for token, ids, table in zip(new, texts, tables, strict=True)][shown]
        for ids, token in zip(texts, new, strict=True):
            ids.append(token)
        for ids, row in zip(texts[shown], steps(feeds), strict=True):
            whole = model(torch.tensor([ids], device=device))[0, -1]
            torch.testing.assert_close(row, whole, rtol=1e-4, atol=1e-4)
    assert len(steps.steps) == 2, "four and three rows share a shape, two rows have another"


def test_idle_rows_touch_nothing_but_the_spare_block() -> None:
    model = small_model()
    pages = Plain(model.dims, 9, SIZE, dtype=torch.float32, device="cpu")
    pages.k.zero_(), pages.v.zero_()
    StaticSteps(model, pages, spare=8)([Feed(5, 0, (2,)), Feed(6, 0, (3,)), Feed(7, 0, (4,))])
    touched = pages.k[0].abs().sum((-1, -2)).nonzero().flatten().tolist()
    assert touched == [2 * SIZE, 3 * SIZE, 4 * SIZE, 8 * SIZE]
