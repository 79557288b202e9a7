"""Several adapters on one model: switched in place, also where the model is laid out for decoding."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest
import torch
from adapted import adapter_in, base_in
from talkers import small_model, small_tokenizer

import danlu
from danlu import assembly, models
from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.infer import Local, generate
from danlu.infer.packed import WORTH, Part, Prepared
from danlu.nn.model import Model
from danlu.peft.attached import activate, attach, detach

LORA = {"use": "lora", "rank": 4, "at": "blocks.*.{q,v,down}"}
TOKENS = torch.randint(0, 267, (2, 9), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base and three adapters of it: two of linear maps, one that has its own tables beside."""
    home = tmp_path_factory.mktemp("switched")
    base = base_in(home / "base")
    return {
        "base": base,
        "one": adapter_in(home / "one", base, LORA, seed=1),
        "two": adapter_in(home / "two", base, {"use": "ia3"}, seed=2),
        "tables": adapter_in(home / "tables", base, {**LORA, "at": "q"}, also=["embed", "head", "norm"], seed=3),
    }


@pytest.fixture
def model(folders: dict[str, Path]) -> Model:
    """The base with all of them."""
    found, _ = models.load(folders["base"])
    for name in ("one", "two", "tables"):
        assembly.attach_folder(found, folders[name], name)
    return found


def said(model: Model, **settings: object) -> list[tuple[int, ...]]:
    tokenizer = models.load(settings.pop("at"))[1] if "at" in settings else None  # type: ignore[arg-type]
    assert tokenizer is not None
    found = generate(model, tokenizer, ["the cat", "he said"], max_tokens=WORTH + 8, stop_ids=[], **settings)  # type: ignore[arg-type]
    return [one.tokens for one in found]


@pytest.mark.slow
def test_a_request_names_its_adapter_and_leaves_the_model_as_it_was(model: Model, folders: dict[str, Path]) -> None:
    """Greedy text with an adapter is that of the merged model; afterwards the same one acts as before."""
    base = folders["base"]
    activate(model, "two")
    for name in ("one", "tables", "two", "one"):
        merged = assembly.merge(assembly.load(folders[name])[0])
        assert said(model, at=base, adapter=name) == said(merged, at=base), name
        assert model.switch is not None
        assert model.switch.active == ("two",)
    assert said(model, at=base, adapter=[]) == said(models.load(base)[0], at=base)
    assert len({str(said(model, at=base, adapter=name)) for name in ("one", "two", "tables", [])}) == 4
    with pytest.raises(ConfigError, match=r"no adapter named 'on'.*did you mean 'one'"):
        said(model, at=base, adapter="on")


@pytest.mark.parametrize("rows", [1, 3])
def test_a_model_laid_out_for_decoding_follows_the_switch(rows: int, model: Model) -> None:
    """One layout serves all adapters; only what they have their own values of is laid out again."""
    prepared = Prepared(model)
    tokens = TOKENS[:1].expand(rows, -1)
    activate(model)
    served = prepared.serving(rows, WORTH)
    parts = [part for part in served.modules() if isinstance(part, Part)]
    products = {id(part.product): part.product for part in parts}
    assert len(parts) == 3 * 7 + 1
    assert len(products) == 3 * 4 + 1  # q, k and v are one product, and so are gate and up
    maps = {key: product.map for key, product in products.items()}
    for names in ((), ("one",), ("two",), ("one", "two"), ("tables",), ("tables", "two"), ("one",), ()):
        activate(model, *names)
        assert prepared.serving(rows, WORTH) is served
        with torch.no_grad():
            torch.testing.assert_close(served(tokens), model(tokens), atol=1e-4, rtol=1e-5)
        changed = {key for key, product in products.items() if product.map is not maps[key]}
        assert len(changed) <= 1  # the head, which one of them has its own of
        assert bool(changed) or "tables" not in names


def test_an_adapter_attached_later_is_seen_by_a_laid_out_model(folders: dict[str, Path]) -> None:
    model, tokenizer = models.load(folders["base"])
    local = Local(model, tokenizer, frozen=True)
    hello = [[{"role": "user", "content": "hello"}]]
    plain = local.chat(hello, max_tokens=WORTH + 8)[0].tokens
    assembly.attach_folder(model, folders["one"], "one")
    adapted = local.chat(hello, max_tokens=WORTH + 8)[0].tokens
    alone, _ = assembly.load(folders["one"])
    assert adapted == Local(alone, tokenizer).chat(hello, max_tokens=WORTH + 8)[0].tokens
    assert adapted != plain
    activate(model)
    assert local.chat(hello, max_tokens=WORTH + 8)[0].tokens == plain


def test_switching_copies_nothing_of_the_base_and_takes_no_time() -> None:
    """768 × 12 as GPT-2 small; adapters of all linear maps. The measured switch stands in docs; here only < 10 ms."""
    sizes = {"model": 768, "layers": 12, "heads": 12, "context": 1024}
    model = models.on_meta(models.recipe_of(Spec.read({"use": "gpt2", **sizes}), vocab=50257))
    for name in ("a", "b"):
        attach(model, Spec.read({"use": "lora", "rank": 8}), name)
    parameters = {name: id(parameter) for name, parameter in model.named_parameters()}
    begin = time.perf_counter()
    for _ in range(5):
        activate(model, "a")
        activate(model, "b")
    assert (time.perf_counter() - begin) / 10 < 0.01
    assert {name: id(parameter) for name, parameter in model.named_parameters()} == parameters


def test_a_model_in_training_is_served_with_the_adapter_that_acts(folders: dict[str, Path]) -> None:
    """What rests beside it is a twin with the same switch; its text is that of the model at rest."""
    model, _ = assembly.load(folders["one"])
    at_rest = said(model, at=folders["base"])
    model.train()
    assert said(model, at=folders["base"]) == at_rest
    assert said(model, at=folders["base"], adapter=[]) == said(models.load(folders["base"])[0], at=folders["base"])
    assert model.training


def test_an_adapter_taken_off_leaves_the_others(model: Model) -> None:
    with torch.no_grad():
        activate(model, "two")
        two = model(TOKENS)
        detach(model, "tables")
        detach(model, "one")
        assert torch.equal(model(TOKENS), two)
        detach(model, "two")
        assert not torch.equal(model(TOKENS), two)
    assert not any(len(site) for site in model.modules() if type(site).__name__ == "Site")


def test_saving_a_model_whose_adapter_acts_writes_the_adapter(
    model: Model, folders: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And says what it does not write; nothing is dropped in silence."""
    activate(model, "one")
    with caplog.at_level(logging.WARNING, "danlu"):
        danlu.save(model, None, tmp_path / "saved")
    assert "['two', 'tables'] rest and are not written" in caplog.text
    model.switch.adapters["one"].base = None  # type: ignore[union-attr]
    again, _ = assembly.load(tmp_path / "saved", base=str(folders["base"]))
    with torch.no_grad():
        assert torch.equal(again(TOKENS), model(TOKENS))
    activate(model)
    danlu.save(model, None, tmp_path / "base")
    assert (tmp_path / "base" / "config.json").is_file()
    activate(model, "one", "two")
    with pytest.raises(ConfigError, match="act together; activate one of them"):
        danlu.save(model, None, tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_a_grown_vocabulary_is_learned_beside_lora(tmp_path: Path) -> None:
    """embed and head of the new rows train, are saved, opened and merged with the adapter."""
    tokenizer = small_tokenizer(tmp_path / "tokenizer")
    model = small_model(tied=False)
    models.grow(model, [[5, 6], [7]])
    models.save(model, tokenizer, tmp_path / "grown")
    folder = adapter_in(tmp_path / "adapter", tmp_path / "grown", LORA, also=["embed", "head"])
    adapted, _ = assembly.load(folder)
    tokens = torch.tensor([[267, 268, 3, 267]])
    with torch.no_grad():
        expected = adapted(tokens)
        assert expected.shape[-1] == 269
        assert (expected - model(tokens)).abs().max() > 0.1
        merged = assembly.merge(adapted)
        torch.testing.assert_close(merged(tokens), expected, atol=1e-4, rtol=1e-4)
