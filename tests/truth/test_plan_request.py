"""Plans of models without a recipe: methods by name, what a request may say, the page, and mistakes in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from danlu.cli import main
from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.models import recipe_of
from danlu.nn.storages import STORAGES
from danlu.peft import ADAPTERS
from danlu.plan import Memory, Work
from danlu.plan.devices import device
from danlu.plan.methods import COMBINED, Method, method, methods
from danlu.plan.request import Request, of_model, recipe_at, requested
from danlu.plan.trained import trained

TINY = {
    "model_type": "llama", "vocab_size": 500, "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 3,
    "num_attention_heads": 4, "max_position_embeddings": 128,
}  # fmt: skip
SEVEN = {**TINY, "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32, "max_position_embeddings": 4096}  # fmt: skip


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    (tmp_path / "tiny.json").write_text(json.dumps(TINY))
    return str(tmp_path / "tiny.json")


def test_every_adapter_is_a_method() -> None:
    assert set(ADAPTERS) <= set(methods())
    assert method("full") == Method()
    for name in ADAPTERS:
        assert method(name) == COMBINED.get(name, Method(Spec(name)))
    with pytest.raises(
        ConfigError, match=r"--method: no method named 'lorra' \(did you mean 'lora'\?\); there are: .*full"
    ):
        method("lorra")


@pytest.mark.skipif("nf4" not in set(STORAGES), reason="no storage of four bits is here")
def test_qlora_is_a_storage_and_an_adapter() -> None:
    assert method("qlora") == Method(Spec("lora"), Spec("nf4", {"double": True}))


def test_lora_of_llama_7b_trains_what_is_published(tmp_path: Path) -> None:
    (tmp_path / "seven.json").write_text(json.dumps(SEVEN))
    adapter = Spec("lora", {"rank": 8, "at": "blocks.*.{q,v}"})
    counts = trained(Work(recipe=recipe_at(str(tmp_path / "seven.json")), rows=1, length=8, adapter=adapter))
    assert (counts.trains, counts.added, counts.frozen) == (4_194_304, 4_194_304, 6_738_415_616)


def test_what_a_request_says_becomes_work() -> None:
    made = recipe_of(Spec("llama", {"model": 64, "layers": 3, "heads": 4, "context": 128}), vocab=500)
    said = {"method": "lora", "rows": 3, "length": 32, "precision": "bf16", "recompute": "blocks", "optim": "sgd"}
    request = requested(said, ["adapter.rank=2", "also_train=[head]", "chunk=64"])
    work = request.work(made, device("24GiB"))
    assert (work.rows, work.length, work.micros, work.device, work.chunk) == (3, 32, 1, "cuda", 64)
    assert (work.adapter, work.storage, work.recompute) == (Spec("lora", {"rank": 2}), None, "blocks")
    assert (work.precision, work.optim, work.also_train) == (Spec("bf16"), Spec("sgd"), ("head",))
    assert Request().work(made, device("t4")).length == 128
    cut = requested({"rows": 8, "length": 32}, ["train.micro=70", "train.offload=[optimizer]"]).work(made, device("t4"))
    assert (cut.rows, cut.micros, cut.options) == (2, 4, {"offload": ["optimizer"]})
    with pytest.raises(ConfigError, match="fewer than one row of 32; raise it to 32"):
        requested({"length": 32}, ["micro=7"]).work(made, device("t4"))


@pytest.mark.parametrize(
    ("said", "changes", "sentence"),
    [
        ({"rows": 0}, [], "--batch must be at least 1, found 0"),
        ({"steps": 0}, [], "--steps must be at least 1"),
        ({"tokens": 1e9, "steps": 3}, [], "not both"),
        ({"method": "magic"}, [], "no method named 'magic'"),
        ({}, ["adaptor.rank=3"], "no key named 'adaptor' .did you mean 'adapter'"),
        ({}, ["rank"], "is no override"),
    ],
)
def test_mistakes_in_a_request(said: dict, changes: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        requested(said, changes)


def test_tokens_become_steps_between_ranks(tiny: str) -> None:
    from danlu.plan.ranks import Ranks

    request = Request(rows=2, length=64, micros=2, tokens=10_000)
    held = Memory({"loss": {"activations: ffn": 1 << 20}, "step": {"weights": 1 << 20}})
    plan = of_model(tiny, request, memory_of=lambda _: held, device=device("a100"), ranks=Ranks(4, 1), price=2.5)
    assert plan.tokens_a_step == 2 * 64 * 2 * 4
    assert plan.steps == 10
    assert plan.bills is not None
    low, high = plan.bills
    assert low.money == pytest.approx(2.5 * 4 * 10 * plan.seconds[0] / 3600)
    assert low.money < high.money
    assert low.days == pytest.approx(10 * plan.seconds[0] / 86_400)


@pytest.mark.slow
def test_the_verb_plans_a_configuration(tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "--model", tiny, "adapter.rank=4", "--method", "lora", "--length", "64", "--batch", "4"]
    more = [
        "--gpu",
        "RTX 4090",
        "--precision",
        "bf16",
        "--ranks",
        "2",
        "--zero",
        "2",
        "--price",
        "0.5",
        "--steps",
        "100",
    ]
    assert main([*words, *more, "--json", str(tmp_path / "plan.json")]) == 0
    page = capsys.readouterr().out
    for word in (
        "trained by lora", "of each rank", "2 ranks, ZeRO stage 2", "frozen weights", "fragmentation", "ZeRO stage 3",
        "roofline", "-bound", "device hours", "cost at 0.5 an hour", "Kaplan 2020", "Chinchilla refit by Epoch",
        "100 steps, 51,200 tokens",
    ):  # fmt: skip
        assert word in page, word
    written = json.loads((tmp_path / "plan.json").read_text())
    assert written["trained_parameters"] == trained_by_hand(rank=4)
    assert written["need_bytes"] > written["peak_bytes"] > 0
    assert (written["ranks"], written["zero_stage"], written["tokens_a_step"]) == (2, 2, 512)
    assert written["cost"][0] == pytest.approx(0.5 * written["device_hours"][0])


def trained_by_hand(rank: int) -> int:
    """r · (in + out) of q, k, v, o, gate, up and down of three layers."""
    return 3 * rank * (4 * (64 + 64) + 3 * (64 + 160))


def test_a_gpu_of_which_only_the_memory_is_known(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--model", tiny, "--gpu", "24GiB", "--steps", "10"]) == 0
    page = capsys.readouterr().out
    assert "fits into 24 GiB of a GPU of 24 GiB" in page
    assert "name a device to know it" in page
    assert "nan" not in page


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--model", "MODEL", "--gpu", "rtx4091"], "no device named 'rtx4091' (did you mean 'rtx4090'?)"),
        (["--model", "MODEL", "--gpu", "24 apples"], "expected a size like 24GiB or 800MB, found '24 apples'"),
        (["--model", "MODEL", "--method", "lorra"], "no method named 'lorra' (did you mean 'lora'?)"),
        (["--model", "MODEL", "--length", "129"], "between 1 and the model's context of 128, found 129"),
        (["--model", "MODEL", "--length", "0"], "between 1 and the model's context of 128, found 0"),
        (["--model", "MODEL", "--batch", "0"], "--batch must be at least 1, found 0"),
        (["--model", "MODEL", "--precision", "fp7"], "no precision named 'fp7'"),
        (["--model", "MODEL", "--optim", "adamm", "--gpu", "t4"], "no optimizer named 'adamm'"),
        (["--model", "MODEL", "--zero", "3"], "give --ranks 2 or more"),
        (["--model", "MODEL", "--zero", "4", "--ranks", "2"], "stages 0, 1, 2 and 3"),
        (["--model", "MODEL", "--ranks", "0"], "--ranks must be at least 1"),
        (["--model", "MODEL", "--method", "lora", "adapter.rank=400", "--gpu", "t4"], "rank 400 is larger than"),
        (["--model", "MODEL", "--method", "lora", "adapter.at=quux", "--gpu", "t4"], "no linear map is named like 'quux'"),
        (["--model", "MODEL", "--price", "-1"], "--price"),
        (["recipe.yaml", "--method", "lora"], "--method goes with --model"),
        (["--model", "nowhere/at/all"], "does not exist"),
        (["--cases", "nowhere.json"], "nowhere.json"),
    ],
)  # fmt: skip
def test_mistakes_get_one_sentence(
    words: list[str], sentence: str, tiny: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *(tiny if word == "MODEL" else word for word in words)]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
