"""The search for what fits, over a memory whose law is known: estimates beside it, remedies, and few questions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.models import Recipe, recipe_of
from danlu.nn.dims import Dims
from danlu.nn.storages import STORAGES
from danlu.plan import Memory, Plan, Work
from danlu.plan.choices import Choice, Search, need
from danlu.plan.devices import device
from danlu.plan.overhead import PROCESS, SEGMENT, SHARE, fragmentation
from danlu.plan.ranks import Ranks
from danlu.plan.trained import trained

RECIPE = Recipe(dims=Dims(vocab=512, model=256, heads=4, layers=4, context=128))
WORK = Work(recipe=RECIPE, rows=16, length=128, micros=2, device="cuda")
ASKED: list[Work] = []


def law(work: Work) -> Memory:
    """Linear in rows, a tenth of the activations with recomputation, a sum of gradients for several micro-batches."""
    ASKED.append(work)
    counts = trained(work)
    frozen = round(4 * (counts.frozen - counts.stored) + counts.stored * counts.bits / 8)
    held = {"weights": 4 * counts.trains, "frozen weights": frozen, "optimizer": 8 * counts.trains}
    kept = 100_000 * work.slots // {"none": 1, "ops": 2, "blocks": 10}[work.recompute]
    logits = 8 * min(work.chunk, work.slots) * 512
    return Memory({
        "load": {"weights": held["weights"], "frozen weights": frozen},
        "loss": held | {"activations: ffn": kept, "logits": logits, "gradients": 4 * counts.trains * (work.micros > 1)},
        "backward": held | {"activations: ffn": kept, "gradients": (4 if work.micros > 1 else 2) * counts.trains},
        "step": held | {"gradients": 4 * counts.trains},
    })  # fmt: skip


@pytest.fixture(autouse=True)
def forget() -> None:
    ASKED.clear()


def test_estimates_are_the_law_where_it_is_linear() -> None:
    search = Search(WORK, law)
    found = list(search.same())
    assert len(found) == 16, "16 rows halved to 1, each with three ways to recompute, and a smaller chunk"
    assert len(ASKED) == 3, "one for each way to recompute"
    for choice in found:
        assert choice.peak_bytes == pytest.approx(law(choice.work).peak_bytes, rel=2e-3), choice.changes
    assert found[0].changes == "as planned"
    assert found[0].arithmetic == 1
    times = {c.changes: c.arithmetic for c in found}
    assert 1 < times["train.recompute=ops"] < times["train.recompute=blocks"]
    assert 1.3 < times["train.recompute=blocks"] < 4 / 3 + 1e-9


@pytest.mark.slow
def test_estimates_beside_traces_of_the_real_step() -> None:
    """A llama of 30 million parameters: within 6 % for other rows, other chunks."""
    from danlu.train.forecast import memory_of

    recipe = Recipe(dims=Dims(vocab=8000, model=512, heads=8, layers=8, context=512), tied=True)
    search = Search(Work(recipe=recipe, rows=8, length=256, precision=Spec("bf16")), memory_of)
    reckoned = [choice for choice in search.same() if not choice.traced][:4:3]
    assert len(reckoned) == 2
    for choice in reckoned:
        assert choice.peak_bytes == pytest.approx(memory_of(choice.work).peak_bytes, rel=0.06), choice.changes


def test_several_micro_batches_hold_their_sum_of_gradients() -> None:
    """The plan has one; each cut of it has several."""
    for choice in Search(replace(WORK, micros=1), law).same():
        assert choice.peak_bytes == pytest.approx(law(choice.work).peak_bytes, rel=2e-3), choice.changes


def test_the_remedy_is_the_mildest_and_is_traced() -> None:
    every = list(Search(WORK, law).same())
    for wanted in every[1:6]:
        search = Search(WORK, law)
        change, _ = search.remedy(wanted.need_bytes)
        assert change is not None
        assert change.traced
        fitting = [c for c in every if need(law(c.work), "cuda") <= wanted.need_bytes]
        assert change.changes == fitting[0].changes
    nothing, least = Search(WORK, law).remedy(PROCESS)
    assert nothing is None
    assert least.need_bytes == min(c.need_bytes for c in every)


def test_sharding_between_ranks() -> None:
    found = list(Search(WORK, law, Ranks(8)).sharded())
    assert [c.changes for c in found] == ["ZeRO stage 1", "ZeRO stage 2", "ZeRO stage 3"]
    alone = law(WORK).peak_bytes
    states = 8 * trained(WORK).trains
    assert found[0].peak_bytes <= alone - states * 7 // 8 + 2 * 25 * 2**20
    assert list(Search(WORK, law, Ranks(8, 3)).sharded()) == []
    assert list(Search(WORK, law).sharded()) == []


def test_lighter_ways_to_train() -> None:
    found = {c.changes: c for c in Search(WORK, law).lighter()}
    assert "adapter=lora" in found
    for choice in found.values():
        assert choice.peak_bytes == pytest.approx(law(choice.work).peak_bytes, rel=0.02), choice.changes
        assert choice.arithmetic < 1.05, "frozen weights save what recomputation costs"
    adapted = replace(WORK, adapter=Spec("lora", {"rank": 2}))
    named = [c.changes for c in Search(adapted, law).lighter()]
    assert all("adapter" not in words for words in named)
    assert bool(named) == ("nf4" in set(STORAGES))


def test_what_a_device_must_have() -> None:
    kinds = {"weights": 10**9, "activations: ffn": 10**8, "logits": 10**7}
    assert fragmentation(kinds, "cuda") == SEGMENT + round(SHARE["cuda"] * 1.1e8)
    assert need(Memory({"loss": kinds}), "cpu") == PROCESS + SEGMENT + round(SHARE["cpu"] * 1.1e8) + 1_110_000_000


def plan(limit: float, **changes: object) -> Plan:
    return Plan(title="a run", work=replace(WORK, **changes), device=device("24GiB"), memory_of=law, limit=limit)


def test_a_refusal_says_the_mildest_change() -> None:
    fitting: list[Choice] = list(Search(WORK, law).same())
    with pytest.raises(
        ConfigError, match=r"a run: needs .* but a GPU of 24 GiB has .*; with train\.micro=1024 it needs .* and fits"
    ):
        plan(fitting[1].need_bytes).check()
    with pytest.raises(ConfigError, match=r"even with train.* it needs .*: take a smaller model or a larger machine"):
        plan(PROCESS).check()
    assert plan(fitting[0].need_bytes).check().fits


def test_a_refusal_says_another_way_to_train() -> None:
    least = min(c.need_bytes for c in Search(WORK, law).same())
    light = min(c.need_bytes for c in Search(WORK, law).lighter())
    assert light < least
    with pytest.raises(ConfigError, match=r"even with .*: adapter=lora.* would need .* and fit, or take a smaller"):
        plan((light + least) / 2).check()


def test_a_model_in_which_no_adapter_finds_a_place() -> None:
    made = recipe_of(Spec("recurrent", {"model": 32, "layers": 1, "context": 64}), vocab=50)
    assert list(Search(Work(recipe=made, rows=1, length=8), law).lighter()) == []


@pytest.mark.skipif("nf4" not in set(STORAGES), reason="no storage of four bits is here")
def test_what_is_stored_in_four_bits_is_served_in_four_bits() -> None:
    four = Spec("nf4", {"double": True})
    full, light = plan(2**40), plan(2**40, adapter=Spec("lora", {"rank": 2}), storage=four)
    counts = trained(light.work)
    saved = counts.stored * (4 - counts.bits / 8) - 4 * counts.added
    served = (p.inference.phases["decode"]["weights"] for p in (full, light))
    assert next(served) - next(served) == pytest.approx(saved, abs=2)
    assert counts.bits == pytest.approx(4.127, abs=1e-3)


def test_the_page_has_every_phase() -> None:
    page = plan(24 * 2**30)
    phases = page.phases.phases
    assert list(phases) == ["load", "loss", "backward", "step", "eval", "save"]
    assert phases["save"].keys() == {"weights", "frozen weights", "optimizer", "fragmentation", "process"}
    assert sum(phases["eval"].values()) < sum(phases["loss"].values())
    assert max(sum(k.values()) for k in phases.values()) == page.need_bytes
    text = page.table()
    for word in ("fragmentation", "process", "eval", "save", "≈", "Kaplan 2020", "4·b·l·h·(s + n)", "name a device"):
        assert word in text
