"""Virtual tokens as the model would read words in their place; their encoders by hand; where they begin."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from talkers import small_tokenizer
from torch import Tensor, nn
from train_tiny import tiny_model, write_recipe

import danlu
from danlu.assembly import load
from danlu.core.errors import ConfigError, ShapeError
from danlu.core.spec import Spec
from danlu.models import Stack, build
from danlu.nn.layout import Layout
from danlu.nn.model import Model
from danlu.peft.attached import activate, attach, switch_of
from danlu.tokenize import load_tokenizer

TOKENS = torch.randint(0, 40, (2, 7), generator=torch.Generator().manual_seed(1))
LENGTH = 3
ENTRANCES = {
    "prompt": Spec("prompt", {"length": LENGTH}),
    "ptuning": Spec("ptuning", {"length": LENGTH, "encoder": "mlp"}),
}
POSITIONS = ["rope", "learned", "sinusoidal", "alibi", "t5", "cope"]


def decoder(position: str = "rope", **parts: object) -> Stack:
    settings = {"model": 32, "layers": 2, "heads": 4, "kv_heads": 2, "context": 32, "position": position, **parts}
    return shaken(build(Spec("decoder", settings), vocab=40).eval())  # type: ignore[return-value]


def shaken(model: Model, size: float = 0.2) -> Model:
    """Numbers that show errors, for all that trains."""
    torch.manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * size)
    return model


def vectors_of(model: Stack) -> Tensor:
    return model.inputs["default"].vectors()


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("use", ENTRANCES)
def test_the_model_on_concatenated_vectors(use: str, position: str) -> None:
    """As if the vectors were words: the tokens after them stand n positions later, and hear them."""
    model = decoder(position)
    attach(model, ENTRANCES[use])
    shaken(model)
    with torch.no_grad():
        x = torch.cat([vectors_of(model).expand(2, -1, -1), model.embed(TOKENS)], 1)
        expected = model.through(x, Layout.dense(x))[:, LENGTH:]
        torch.testing.assert_close(model.hidden(TOKENS), expected, atol=1e-6, rtol=1e-6)
        assert model.extra == LENGTH
        activate(model)
        assert not torch.allclose(model.hidden(TOKENS), expected, atol=0.01)


def causal_and(use: str, size: int) -> dict[str, object]:
    return {"use": "both", "a": {"use": "causal"}, "b": {"use": use, "size": size}}


@pytest.mark.parametrize("mask", ["causal", causal_and("window", 3), causal_and("block", 4)], ids=str)
@pytest.mark.parametrize("kernel", ["sdpa", "reference", "tiled", "sparse"])
def test_packed_documents_share_them_and_hear_no_other(kernel: str, mask: object) -> None:
    model = decoder(mask=mask, kernels=[Spec(kernel), Spec("reference")])
    attach(model, ENTRANCES["prompt"])
    shaken(model)
    segment = torch.tensor([[1, 1, 1, 2, 2, 2, 2], [0, 1, 1, 1, 1, 2, 0]])
    position = torch.tensor([[0, 1, 2, 0, 1, 2, 3], [0, 0, 1, 2, 3, 0, 0]])
    with torch.no_grad():
        known, unknown = (model(TOKENS, layout) for layout in (Layout.of(position, segment), Layout(position, segment)))
        torch.testing.assert_close(known[segment != 0], unknown[segment != 0], atol=1e-5, rtol=1e-5)
        for row, a, b in [(0, 0, 3), (0, 3, 7), (1, 1, 5), (1, 5, 6)]:
            alone = model(TOKENS[row : row + 1, a:b])[0]
            torch.testing.assert_close(known[row, a:b], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("use", ENTRANCES)
def test_an_encoder_reads_them_with_each_document(use: str) -> None:
    """They look ahead at the document, so each has its own: rows of one, of several and of kinds of tokens."""
    model = shaken(build(Spec("bert", {"model": 32, "layers": 2, "heads": 4, "context": 32}), vocab=40).eval())
    attach(model, ENTRANCES[use])
    shaken(model)
    segment = torch.tensor([[1, 1, 1, 2, 2, 2, 2], [0, 1, 1, 1, 1, 2, 0]])
    position = torch.tensor([[0, 1, 2, 0, 1, 2, 3], [0, 0, 1, 2, 3, 0, 0]])
    kinds = torch.randint(0, 2, segment.shape)
    with torch.no_grad():
        found = model(TOKENS, Layout.of(position, segment, token_type=kinds))
        assert found.shape[:2] == TOKENS.shape
        for row, a, b in [(0, 0, 3), (0, 3, 7), (1, 1, 5), (1, 5, 6)]:
            tokens = TOKENS[row : row + 1, a:b]
            alone = model(tokens, replace(Layout.dense(tokens), token_type=kinds[row : row + 1, a:b]))[0]
            torch.testing.assert_close(found[row, a:b], alone, atol=1e-5, rtol=1e-5)
    model(TOKENS, Layout.of(position, segment)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters() if p.requires_grad)


def test_an_encoder_decoder_reads_them_with_its_source() -> None:
    """The decoder looks at what the encoder made of them, too; its own row is no longer."""
    model = shaken(build(Spec("t5", {"model": 32, "layers": 2, "heads": 4, "context": 32}), vocab=40).eval())
    attach(model, ENTRANCES["prompt"])
    shaken(model)
    target = TOKENS[:, :4]
    with torch.no_grad():
        x = torch.cat([model.encoder.inputs["default"].vectors().expand(2, -1, -1), model.embed(TOKENS)], 1)
        dense = Layout.dense(x)
        hidden = model.encoder.through(x, dense)
        memory = model.read(TOKENS, Layout.dense(TOKENS))
        torch.testing.assert_close(memory.hidden, hidden, atol=1e-6, rtol=1e-6)
        whole = model.translate(TOKENS, target)
        segment, at = torch.tensor([[1, 1, 1, 2, 2, 2, 2]]), torch.tensor([[0, 1, 2, 0, 1, 2, 3]])
        memory = model.read(TOKENS[:1], Layout.of(at, segment))
        both = model(target[:1], Layout.of(at[:, 1:5] * 0 + torch.tensor([[0, 1, 0, 1]]),
                                           torch.tensor([[1, 1, 2, 2]]), memory=memory))  # fmt: skip
        apart = [model.translate(TOKENS[:1, a:b], target[:1, c : c + 2]) for a, b, c in [(0, 3, 0), (3, 7, 2)]]
    torch.testing.assert_close(both, torch.cat(apart, 1), atol=1e-5, rtol=1e-5)
    assert whole.shape == (2, 4, 40)
    assert model.extra == 0


# ── encoders ─────────────────────────────────────────────────────────────────────────────────────────────────────
def linear(part: nn.Linear, x: Tensor) -> Tensor:
    return torch.einsum("oi,ni->no", part.weight, x) + part.bias


def one_way(lstm: nn.LSTM, name: str, x: Tensor) -> Tensor:
    """Hochreiter's cell, step by step.  (n, in) → (n, width)."""
    w, u, b, c = (getattr(lstm, f"{kind}_{name}") for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    h, cell, out = torch.zeros(lstm.hidden_size).to(x), torch.zeros(lstm.hidden_size).to(x), []
    for one in x:
        i, f, g, o = (w @ one + b + u @ h + c).chunk(4)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        h = o.sigmoid() * cell.tanh()
        out.append(h)
    return torch.stack(out)


def lstm_by_hand(part: nn.Module) -> Tensor:
    x = part.tokens
    for layer in ("l0", "l1"):
        x = torch.cat([one_way(part.lstm, layer, x), one_way(part.lstm, f"{layer}_reverse", x.flip(0)).flip(0)], 1)
    return linear(part.net[2], linear(part.net[0], x).relu())


def mlp_by_hand(part: nn.Module) -> Tensor:
    return linear(part.net[4], linear(part.net[2], linear(part.net[0], part.tokens).relu()).relu())


@pytest.mark.parametrize(("encoder", "by_hand"), [("lstm", lstm_by_hand), ("mlp", mlp_by_hand)])
def test_encoders_by_hand(encoder: str, by_hand: Callable[[nn.Module], Tensor]) -> None:
    model = tiny_model().double().eval()
    attach(model, Spec("ptuning", {"length": 4, "encoder": encoder, "width": 6}))
    part = model.inputs["default"].vectors
    torch.testing.assert_close(part(), by_hand(part))
    with torch.no_grad():
        first = part()
        assert part() is first, "at rest it is computed once"
        part.tokens.add_(1)
        torch.testing.assert_close(part(), by_hand(part))


# ── anywhere ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_placeholders_are_read_as_vectors_in_their_order() -> None:
    """The k-th of a document; those beyond the last vector are words as ever, and nothing is longer."""
    model = decoder()
    attach(model, Spec("ptuning", {"length": 2, "placeholder": 9}))
    shaken(model)
    tokens = torch.tensor([[9, 4, 9, 5, 9, 9, 7, 9, 9, 9], [1, 2, 3, 4, 9, 5, 6, 7, 8, 9]])
    segment = torch.tensor([[1, 1, 1, 1, 1, 2, 2, 2, 2, 0], [1] * 10])
    position = torch.tensor([[*range(5), *range(4), 0], [*range(10)]])
    first, second = vectors_of(model)
    with torch.no_grad():
        x = model.embed(tokens)
        for row, at, vector in [
            (0, 0, first),
            (0, 2, second),
            (0, 5, first),
            (0, 7, second),
            (1, 4, first),
            (1, 9, second),
        ]:
            x[row, at] = vector
        expected = model.through(x, Layout.of(position, segment))
        found = model.hidden(tokens, Layout.of(position, segment))
    torch.testing.assert_close(found[segment != 0], expected[segment != 0])
    assert (model.extra, model.limit, model.undivided) == (0, None, True)


def test_placeholders_beside_virtual_tokens() -> None:
    """Two adapters at the entrance: what one puts before rows moves the places of the other."""
    for model in (
        decoder(),
        shaken(build(Spec("bert", {"model": 32, "layers": 2, "heads": 4, "context": 32}), vocab=40)),
    ):
        attach(model, ENTRANCES["prompt"], "before")
        attach(model, Spec("ptuning", {"length": 2, "placeholder": 9}), "within")
        shaken(model.eval())
        tokens = torch.tensor([[3, 9, 4, 9, 5, 9]])
        segment, position = torch.tensor([[1, 1, 1, 2, 2, 2]]), torch.tensor([[0, 1, 2, 0, 1, 2]])
        with torch.no_grad():
            answers = []
            for names in (("before", "within"), ("within", "before")):
                activate(model, *names)
                answers.append(model(tokens, Layout.of(position, segment)))
            torch.testing.assert_close(*answers, atol=1e-5, rtol=1e-5)
            alone = torch.cat([model(tokens[:, :3]), model(tokens[:, 3:])], 1)
        torch.testing.assert_close(answers[0], alone, atol=1e-5, rtol=1e-5)


# ── starts ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_starts() -> None:
    model = tiny_model()
    words = model.embed.weight.detach()
    for length, ids in [(2, [5, 6, 7]), (3, [5, 6, 7]), (7, [5, 6, 7])]:
        attach(model, Spec("prompt", {"length": length, "ids": ids}), f"n{length}")
        expected = words[torch.tensor([ids[k % 3] for k in range(length)])]
        assert torch.equal(model.inputs[f"n{length}"].vectors().detach(), expected)
    torch.manual_seed(0)
    attach(model, Spec("prompt", {"length": 20, "start": "vocabulary"}), "drawn")
    drawn = model.inputs["drawn"].vectors().detach()
    assert all((words == vector).all(1).any() for vector in drawn)
    assert len(drawn.unique(dim=0)) > 10
    attach(model, Spec("prompt", {"length": 60, "start": "random"}), "random")
    assert (model.inputs["random"].vectors().std() / words.std()).item() == pytest.approx(1, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [
    {"use": "prompt", "text": "the quick", "length": 5}, {"use": "ptuning", "placeholder": " the", "length": 2},
])  # fmt: skip
def test_texts_of_a_recipe_become_ids_that_are_kept(adapter: dict, tmp_path: Path) -> None:
    """From a recipe to a folder that needs no tokenizer to be opened, and answers as the trained model did."""
    recipe = write_recipe(tmp_path, adapter=adapter, base=str(tmp_path / "base"), architecture=None,
                          train={"steps": 3, "tokens": 128, "micro": 64, "threads": 1}, hooks=["save"])  # fmt: skip
    tokenizer = load_tokenizer(tmp_path / "tokenizer")
    danlu.save(tiny_model(vocab=tokenizer.vocab_size, use="gpt2"), tokenizer, tmp_path / "base")
    run = danlu.train(recipe, out=tmp_path / "run", quiet=True)
    said = json.loads((tmp_path / "run" / "final" / "danlu" / "adapter.json").read_text())["adapter"]
    word = adapter.get("text") or adapter["placeholder"]
    ids = list(tokenizer.encode(word))
    assert said.get("ids", [said.get("placeholder")]) == ids
    assert "text" not in said
    model, _ = load(tmp_path / "run" / "final")
    tokens = torch.tensor([ids * 3])
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), run.model.eval()(tokens))
    if model.extra:
        with pytest.raises(ShapeError, match=r"data.pack.length is 63, but beside its virtual tokens .* for 55 tokens"):
            danlu.train(recipe, ["adapter.length=9", "data.pack.length=63"], out=tmp_path / "long", quiet=True)


def test_a_placeholder_becomes_an_id(tmp_path: Path) -> None:
    tokenizer = small_tokenizer(tmp_path)
    model = tiny_model(vocab=tokenizer.vocab_size)
    spec = Spec("ptuning", {"length": 2, "placeholder": " the"})
    attached = attach(model, spec, encode=tokenizer.encode)
    assert attached.spec.settings["placeholder"] == tokenizer.encode(" the")[0]
    with pytest.raises(ConfigError, match="placeholder is one token, and the tokenizer makes 3 of 'key'"):
        attach(model, replace(spec, settings={"placeholder": "key"}), "other", encode=tokenizer.encode)
    with pytest.raises(ConfigError, match="a placeholder's text needs a tokenizer"):
        attach(model, spec, "other")


REFUSED = {
    "adapter prompt: length is how many virtual tokens there are, at least 1, found 0": Spec("prompt", {"length": 0}),
    "adapter prompt: no start named 'zero'; there are: random, vocabulary": Spec("prompt", {"start": "zero"}),
    "begin from a text or from its ids": Spec("prompt", {"text": "a", "ids": [1]}),
    "text needs a tokenizer; attach it with encode, or give the ids": Spec("prompt", {"text": "a"}),
    "ids has 40, the model's are 0 … 39": Spec("prompt", {"ids": [1, 40]}),
    "adapter ptuning: length is how many": Spec("ptuning", {"length": -1}),
    "adapter ptuning: no encoder named 'gru'; there are: lstm, mlp": Spec("ptuning", {"encoder": "gru"}),
    "width is that of the encoder, at least 1, found 0": Spec("ptuning", {"width": 0}),
    "placeholder is 40, the model's ids are 0 … 39": Spec("ptuning", {"placeholder": 40}),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_refusals(sentence: str) -> None:
    model = tiny_model()
    with pytest.raises(ConfigError) as error:
        attach(model, REFUSED[sentence])
    assert sentence in str(error.value)
    assert not switch_of(model).adapters


@pytest.mark.parametrize("use", ENTRANCES)
def test_models_without_a_place_for_vectors(use: str) -> None:
    for family, settings in [
        ("recurrent", {"model": 16, "layers": 1, "context": 64}),
        ("vit", {"model": 32, "layers": 1, "heads": 4, "image": 8, "patch": 4}),
    ]:
        model = build(Spec(family, settings), vocab=40)
        with pytest.raises(ConfigError, match=f"this {family} has no place where vectors could stand before"):
            attach(model, ENTRANCES[use])


@pytest.mark.parametrize("use", ENTRANCES)
def test_a_table_of_positions_must_have_room(use: str) -> None:
    model = tiny_model(use="gpt2", context=12)
    attach(model, ENTRANCES[use])
    assert model.limit == 9
    model(torch.ones(1, 9, dtype=torch.long))
    with pytest.raises(ShapeError, match="position 12 lies beyond the model's context of 12"):
        model(torch.ones(1, 10, dtype=torch.long))
    with pytest.raises(ShapeError, match="30 virtual tokens leave no room for others in a context of 12"):
        attach(model, Spec(use, {"length": 30}), "longer")


def test_what_parts_leave_for_the_objective_reaches_it() -> None:
    """The layout of a call moves, and its asides, such as a router's balance, stay with the one the caller has."""
    for spec in (ENTRANCES["prompt"], Spec("ptuning_v2", {"length": LENGTH})):
        model = decoder(ffn={"use": "moe", "experts": 4, "router": {"use": "top_k", "balance": 0.1}}).train()
        layout = Layout.dense(TOKENS)
        model(TOKENS, layout)
        names = set(layout.asides())
        attach(model, spec)
        layout = Layout.dense(TOKENS)
        model(TOKENS, layout)
        assert set(layout.asides()) == names
        assert names


@pytest.mark.parametrize("use", ["prompt", "ptuning", "prefix", "ptuning_v2", "mam", "unipelt"])
@pytest.mark.parametrize("position", ["rope", "t5"])
def test_lower_precision_beside_numbers_in_fp32(use: str, position: str) -> None:
    """A base in bf16 under autocast: adapters are fp32 and learn, and answer nearly as all of it in fp32 does."""
    models = []
    for dtype in (torch.float32, torch.bfloat16):
        model = decoder(position)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.data = parameter.bfloat16().to(dtype)
        torch.manual_seed(0)
        attach(model, Spec(use, {} if use in ("mam", "unipelt") else {"length": LENGTH}))
        for parameter in model.parameters():
            parameter.data = parameter.float() if parameter.requires_grad else parameter
        models.append(shaken(model, 0.1))
    exact, rounded = models
    with torch.autocast("cpu", torch.bfloat16):
        found = rounded.train()(TOKENS)
        found.float().square().mean().backward()
    torch.testing.assert_close(found.float(), exact(TOKENS), atol=0.5, rtol=0.1)
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in rounded.parameters() if p.requires_grad)
