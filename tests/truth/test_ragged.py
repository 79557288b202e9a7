"""Texts in one row, each in blocks of its own: every family hears what each text would hear alone and whole."""

from __future__ import annotations

import pytest
import torch
from talkers import small_model

from danlu.nn.caches.growing import Growing
from danlu.nn.layout import Layout
from danlu.nn.pages.plain import Plain
from danlu.nn.ragged import Alone, Ragged, Text

FAMILIES = {
    "llama": {"kv_heads": 2}, "gpt2": {}, "bloom": {}, "mistral": {"window": 6}, "qwen3": {}, "mixtral": {},
    "glm4": {"kv_heads": 2},
}  # fmt: skip
SIZE = 4
LENGTHS = (13, 5, 9, 1)
TABLES = ((0, 1, 2, 3), (7, 5), (9, 12, 10), (4,))  # one after the other; anywhere
families = pytest.mark.parametrize("family", FAMILIES)


def texts() -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(2)
    return [torch.randint(0, 267, (1, length), generator=random) for length in LENGTHS]


def soft(family: str) -> torch.nn.Module:
    """Logits of ordinary size, so that they can be compared."""
    model = small_model(family, layers=2, **FAMILIES[family])
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.div_(4)
    return model


def near(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-4 * float(expected.abs().max()), rtol=1e-4)


@families
@pytest.mark.parametrize("cut", [0, 1, 4, 7])
@torch.no_grad()
def test_together_equals_each_alone(family, cut) -> None:
    """First ``cut`` tokens of each, as far as it has so many; then the rest of all of them in one row."""
    model, pages = soft(family), Plain(soft(family).dims, 14, SIZE)
    said: list[list[torch.Tensor]] = [[] for _ in LENGTHS]
    for first in (True, False):
        bounds = [(0, min(cut, n)) if first else (min(cut, n), n) for n in LENGTHS]
        fed = [(i, a, b) for i, (a, b) in enumerate(bounds) if a < b]
        if not fed:
            continue
        ragged = Ragged(pages, [Text(TABLES[i], a, b) for i, a, b in fed])
        row = torch.cat([texts()[i][:, a:b] for i, a, b in fed], 1)
        hidden = model.hidden(row, ragged.layout())
        for (i, _, _), part in zip(fed, hidden.split([b - a for _, a, b in fed], 1), strict=True):
            said[i].append(part)
    for tokens, parts in zip(texts(), said, strict=True):
        near(torch.cat(parts, 1), model.hidden(tokens))


@families
@torch.no_grad()
def test_alone_equals_whole(family) -> None:
    model, tokens = soft(family), texts()[0]
    pages = Plain(model.dims, 14, SIZE)
    parts = [
        model.hidden(tokens[:, a:b], Layout.dense(tokens[:, a:b], Alone(pages, (3, 9, 1, 2), a), a))
        for a, b in [(0, 6), (6, 7), (7, 13)]
    ]
    near(torch.cat(parts, 1), model.hidden(tokens))


@torch.no_grad()
def test_what_a_window_forgot_is_never_read() -> None:
    """Forgotten blocks hold anything, numbers that are none included."""
    model, tokens = soft("mistral"), texts()[0]
    whole = model.hidden(tokens)
    for way in ("ragged", "alone"):
        pages = Plain(model.dims, 14, SIZE)
        table = (0, 1, 2, 3)
        model.hidden(tokens[:, :12], Ragged(pages, [Text(table, 0, 12)]).layout())
        for tensor in pages.held().values():
            tensor[:, : 1 * SIZE] = torch.nan  # tokens 0 … 3: token 12 sees 7 … 12
        last = tokens[:, 12:]
        if way == "ragged":
            found = model.hidden(last, Ragged(pages, [Text(table, 12, 13, 4)]).layout())
        else:
            found = model.hidden(last, Layout.dense(last, Alone(pages, table, 12, 4), 12))
        near(found, whole[:, 12:])


@torch.no_grad()
def test_blocks_that_texts_share_are_read_by_both() -> None:
    model, pages = soft("llama"), Plain(soft("llama").dims, 14, SIZE)
    beginning = texts()[0][:, :8]
    model.hidden(beginning, Ragged(pages, [Text((5, 6), 0, 8)]).layout())
    ends = [texts()[2][:, :3], texts()[2][:, 3:5]]
    both = [Text((5, 6, 0), 8, 11), Text((5, 6, 1), 8, 10)]
    found = model.hidden(torch.cat(ends, 1), Ragged(pages, both).layout())
    for part, end in zip(found.split([3, 2], 1), ends, strict=True):
        near(part, model.hidden(torch.cat([beginning, end], 1))[:, 8:])


@torch.no_grad()
def test_a_row_of_texts_is_a_row_of_documents_to_other_caches() -> None:
    """The same layout without a pool: packed documents."""
    model = soft("llama")
    layout = Ragged(Plain(model.dims, 14, SIZE), [Text(TABLES[0], 0, 13), Text(TABLES[1], 0, 5)]).layout()
    row = torch.cat(texts()[:2], 1)
    packed = model.hidden(row, Layout(layout.position, layout.segment, Growing(model.dims, 1, 18)))
    near(model.hidden(row, layout), packed)
