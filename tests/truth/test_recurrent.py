"""Recurrent models against torch's stacked networks, packed rows against documents alone, pieces against the whole."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from talkers import small_tokenizer
from torch import Tensor, nn

from danlu import generate, load, save
from danlu.core.batch import Batch
from danlu.core.errors import ConfigError, ShapeError
from danlu.core.spec import Spec
from danlu.infer import Local, log_likelihoods
from danlu.infer.packed import Prepared
from danlu.infer.runner import Runner
from danlu.models import build
from danlu.models.forms.recurrent import Recurrent, RecurrentRecipe
from danlu.nn.layout import Layout
from danlu.objectives import OBJECTIVES

SIZES = {"model": 24, "layers": 2, "context": 64}
TOKENS = torch.randint(0, 50, (2, 12), generator=torch.Generator().manual_seed(1))
SEGMENT = torch.tensor([[1] * 5 + [2] * 3 + [3] * 4, [0] * 2 + [1] * 4 + [2] * 5 + [0]])
POSITION = torch.tensor([[*range(5), *range(3), *range(4)], [0, 0, *range(4), *range(5), 0]])
cells = pytest.mark.parametrize("cell", ["lstm", "rnn"])


def newborn(cell: str, vocab: int = 50, **more) -> Recurrent:
    model = build(Spec("recurrent", {**SIZES, "cell": cell, **more}), vocab=vocab, seed=2).eval()
    with torch.no_grad():
        model.embed.weight.mul_(40)
        for layer in model.cells if isinstance(model, Recurrent) else ():
            for weight in layer.parameters():
                weight.mul_(1.5)
    assert isinstance(model, Recurrent)
    return model


@cells
def test_it_is_the_stacked_network_of_torch(cell) -> None:
    model = newborn(cell)
    theirs = {"lstm": nn.LSTM, "rnn": nn.RNN}[cell](24, 24, num_layers=2, batch_first=True)
    weights = {
        name.replace("_l0", f"_l{layer}"): value
        for layer, ours in enumerate(model.cells)
        for name, value in ours.state_dict().items()
    }
    theirs.load_state_dict(weights)
    with torch.no_grad():
        expected = theirs(model.embed(TOKENS))[0] @ model.embed.weight.T
        torch.testing.assert_close(model(TOKENS), expected, atol=1e-5, rtol=1e-5)


@cells
@pytest.mark.parametrize("recompute", [False, True])
def test_packed_equals_separate_with_gradients(cell, recompute) -> None:
    """Rows that begin or end with padding too; slots of padding answer zeros."""
    model = newborn(cell).train()
    layout = Layout(POSITION, SEGMENT)
    model.recompute = recompute
    found = model.hidden(TOKENS, layout)
    assert not found[SEGMENT == 0].any()
    found.square().sum().backward()
    packed = {name: weight.grad for name, weight in model.named_parameters()}
    model.zero_grad()
    model.recompute = False
    documents = [(0, 0, 5), (0, 5, 8), (0, 8, 12), (1, 2, 6), (1, 6, 11)]
    for row, start, stop in documents:
        alone = model.hidden(TOKENS[row : row + 1, start:stop])
        torch.testing.assert_close(found[row, start:stop], alone[0], atol=1e-5, rtol=1e-5)
        alone.square().sum().backward()
    for name, weight in model.named_parameters():
        torch.testing.assert_close(packed[name], weight.grad, atol=1e-4, rtol=1e-4)


def test_rows_of_padding_alone_answer_zeros() -> None:
    model = newborn("lstm")
    assert not model.hidden(TOKENS, Layout(POSITION * 0, SEGMENT * 0)).any()


def test_the_maker_of_a_layout_may_know_the_documents() -> None:
    model = newborn("lstm")
    segment, position = SEGMENT.clone(), POSITION.clone()
    segment[1], position[1] = torch.tensor([1] * 12), torch.arange(12)
    known, unknown = Layout.of(position, segment), Layout(position, segment)
    assert known.spans is not None
    with torch.no_grad():
        assert torch.equal(model.hidden(TOKENS, known), model.hidden(TOKENS, unknown))


@cells
def test_cached_equals_whole(cell) -> None:
    """Token by token, in pieces, and with rows that begin later than others."""
    model = newborn(cell)
    position = torch.stack([torch.arange(12), (torch.arange(12) - 3).clamp(min=0)])
    segment = torch.tensor([[1] * 12, [0] * 3 + [1] * 9])
    with torch.no_grad():
        whole = model(TOKENS)
        ragged = model(TOKENS, Layout.of(position, segment))
        for cuts in (range(13), (0, 5, 6, 12)):
            kept, late = (model.cache("slab", 2, 12, torch.float32, torch.device("cpu")) for _ in range(2))
            for a, b in pairwise(cuts):
                piece = slice(a, b)
                found = model(TOKENS[:, piece], Layout.dense(TOKENS[:, piece], kept, a))
                torch.testing.assert_close(found, whole[:, piece], atol=1e-5, rtol=1e-5)
                found = model(TOKENS[:, piece], Layout(position[:, piece], segment[:, piece], late))
                real = segment[:, piece] == 1
                torch.testing.assert_close(found[real], ragged[:, piece][real], atol=1e-5, rtol=1e-5)
            assert kept.length == late.length == 12
    alone = model(TOKENS[1:, 3:])
    torch.testing.assert_close(ragged[1:, 3:], alone, atol=1e-5, rtol=1e-5)


def test_states_are_chosen_doubled_and_begun_anew() -> None:
    model = newborn("lstm")
    kept = model.cache("slab", 2, 12, torch.float32, torch.device("cpu"))
    with torch.no_grad():
        whole = model(TOKENS)
        model(TOKENS[:, :7], Layout.dense(TOKENS[:, :7], kept))
        kept.truncate(7)
        with pytest.raises(ConfigError, match="keeps no state of token 3 of 7; begin anew"):
            kept.truncate(3)
        kept.select([1, 1, 0])
        tokens = TOKENS[[1, 1, 0], 7:]
        found = model(tokens, Layout.dense(tokens, kept, 7))
        torch.testing.assert_close(found, whole[[1, 1, 0], 7:], atol=1e-5, rtol=1e-5)
        kept.truncate(0)
        assert kept.length == 0
        again = model(TOKENS[[0, 0, 0]], Layout.dense(TOKENS[[0, 0, 0]], kept))
        torch.testing.assert_close(again[0], whole[0], atol=1e-5, rtol=1e-5)


@cells
def test_it_learns_by_the_objective_of_decoders(cell) -> None:
    """The loss of the packed rows is that of their documents, and a few steps lower it."""
    torch.manual_seed(0)
    model = build(Spec("recurrent", {**SIZES, "cell": cell}), vocab=50, seed=2).train()
    weight = (SEGMENT > 0).float()
    batch = Batch(TOKENS, TOKENS.roll(-1, 1), weight, SEGMENT, POSITION)
    objective, optim = OBJECTIVES["next_token"](), torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(80):
        loss = objective.loss(model, batch)
        optim.zero_grad()
        (loss.total / loss.weight).backward()
        optim.step()
        losses.append((loss.total / loss.weight).item())
    assert losses[0] == pytest.approx(torch.tensor(50.0).log().item(), abs=0.1)
    assert losses[-1] < 0.5 * losses[0]


@cells
def test_saved_equals_loaded(cell, tmp_path: Path) -> None:
    model = newborn(cell, tied=False)
    again, _ = load(save(model, None, tmp_path / "model"))
    assert again.recipe == model.recipe == RecurrentRecipe.read(model.recipe.write())
    assert sum(p.numel() for p in again.parameters()) == 2 * 50 * 24 + 2 * (8 if cell == "lstm" else 2) * (24**2 + 24)
    with torch.no_grad():
        assert torch.equal(again(TOKENS), model(TOKENS))


@cells
@pytest.mark.parametrize("cache", ["slab", "growing"])
def test_it_generates(cell, cache, tmp_path: Path) -> None:
    """Cached equals reading everything again; together equals alone; laid out for decoding equals as it is."""
    tokenizer = small_tokenizer(tmp_path)
    model = newborn(cell, vocab=267)
    prompts = ["the", "what the then 你好", "a the"]
    rows = [row.tokens for row in generate(model, tokenizer, prompts, max_tokens=40, stop_ids=(), cache=cache)]
    assert rows == [r.tokens for r in generate(model, tokenizer, prompts, max_tokens=40, stop_ids=(), cache="none")]
    assert rows == [generate(model, tokenizer, [p], max_tokens=40, stop_ids=())[0].tokens for p in prompts]
    assert len(set(rows)) > 1


def test_prompts_in_pieces_equal_prompts_at_once(monkeypatch) -> None:
    import danlu.infer.runner as runner

    model = newborn("lstm")
    prompts = [TOKENS[0].tolist(), TOKENS[1, :5].tolist()]
    whole = Runner(Prepared(model)).start(prompts, 4)
    monkeypatch.setattr(runner, "PREFILL", 8)
    torch.testing.assert_close(Runner(Prepared(model)).start(prompts, 4), whole, atol=1e-5, rtol=1e-5)


def test_it_is_scored_by_the_port_of_evaluation(tmp_path: Path) -> None:
    """A long beginning that rows share is read once; each score is the log-softmax of the whole row."""
    model = newborn("lstm", context=128)
    tokenizer = small_tokenizer(tmp_path)
    shared = torch.randint(0, 50, (70,), generator=torch.Generator().manual_seed(4)).tolist()
    rows = [([*shared, 3], [5, 6]), ([*shared, 4, 4], [7]), ([1], [2, 3])]
    found = log_likelihoods(model, rows)

    def whole(context: list[int], continuation: list[int]) -> Tensor:
        tokens = torch.tensor([[*context, *continuation]])
        with torch.no_grad():
            logprobs = model(tokens).log_softmax(-1)[0]
        places = range(len(context) - 1, len(context) + len(continuation) - 1)
        return torch.stack([logprobs[t, tokens[0, t + 1]] for t in places])

    for row, score in zip(rows, found, strict=True):
        torch.testing.assert_close(torch.tensor(score.logprobs), whole(*row), atol=1e-4, rtol=1e-4)
    assert Local(model, tokenizer).context == 128


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match=r"cell.*'gru'"):
        newborn("gru")
    with pytest.raises(ConfigError, match=r"dropout must lie in \[0, 1\), found 1.5"):
        newborn("lstm", dropout=1.5)
    with pytest.raises(ShapeError, match="token id 50 is not in the model's vocabulary of 50"):
        newborn("lstm")(torch.tensor([[50]]))
