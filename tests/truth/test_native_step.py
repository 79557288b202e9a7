"""A native step against the model itself in float64, and native attention against the formula."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import danlu.models
from danlu.core.errors import ShapeError
from danlu.core.spec import Spec
from danlu.infer.native_step import NativeStep
from danlu.nn import native
from danlu.nn.storages import STORAGES, Stored, store

SIZES = {"model": 64, "layers": 2, "heads": 4, "context": 64}
GROUPED = {**SIZES, "kv_heads": 2, "ffn": 96}
FAMILIES = {
    "llama": {"use": "llama", **GROUPED, "tied": True},
    "stretched": {
        "use": "llama",
        **GROUPED,
        "position": {"use": "rope", "scaling": {"use": "yarn", "factor": 4.0, "original": 16}},
    },
    "dynamic": {
        "use": "llama",
        **GROUPED,
        "context": 8,
        "position": {"use": "rope", "scaling": {"use": "dynamic", "factor": 2.0, "original": 8}},
    },
    "qwen2": {"use": "qwen2", **SIZES, "kv_heads": 1, "ffn": 100, "model": 48},
    "qwen3": {"use": "qwen3", **GROUPED},
    "mistral": {"use": "mistral", **GROUPED, "window": 5},
    "gpt2": {"use": "gpt2", **SIZES},
}
VOCAB, BLOCK, BLOCKS = 99, 4, 64


@pytest.fixture(autouse=True)
def there():
    if not native.ready():
        pytest.skip(f"no native kernels: {native.why()}")


def built(name: str) -> danlu.models.Stack:
    """A small model whose norms and biases are not what they are born as."""
    torch.manual_seed(1)
    model = danlu.models.build(Spec.read(FAMILIES[name]), vocab=VOCAB, seed=1).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def texts() -> list[list[int]]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randint(0, VOCAB, (n,), generator=generator).tolist() for n in (9, 17, 3)]


def made(
    model: danlu.models.Stack, some: list[list[int]], dtype: torch.dtype = torch.float32, **settings
) -> list[Tensor]:
    """Logits of every token of every text, one token of each at a time; their blocks lie anywhere."""
    step = NativeStep.of(model, **settings)
    assert not isinstance(step, str), step
    dims, longest = model.dims, max(map(len, some))
    k, v = (
        torch.full((dims.layers, BLOCKS * BLOCK, dims.kv_heads, dims.head), torch.nan, dtype=dtype) for _ in range(2)
    )
    blocks = -(-longest // BLOCK)
    tables = torch.randperm(BLOCKS)[: len(some) * blocks].view(len(some), blocks).int()
    said: list[list[Tensor]] = [[] for _ in some]
    for at in range(longest):
        rows = [row for row, text in enumerate(some) if at < len(text)]
        tokens, positions = torch.tensor([some[row][at] for row in rows]), torch.full((len(rows),), at)
        logits = step(tokens, positions, tables[rows], (positions + 1).int(), k, v, BLOCK)
        for row, one in zip(rows, logits, strict=True):
            said[row].append(one)
    return [torch.stack(one) for one in said]


def expected(model: danlu.models.Stack, some: list[list[int]]) -> list[Tensor]:
    with torch.no_grad():
        answers = [
            torch.cat([model.double()(torch.tensor([text[: n + 1]]))[0, -1:] for n in range(len(text))])
            for text in some
        ]
    model.float()
    return answers


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "dynamic"])
def test_a_step_is_the_model(name):
    model, some = built(name), texts()
    for mine, theirs in zip(made(model, some), expected(model, some), strict=True):
        assert (mine - theirs).abs().max() < 2e-6 * theirs.abs().max()


def test_a_row_is_the_same_bits_alone():
    model, some = built("qwen3"), texts()
    together = made(model, some)
    assert all(torch.equal(made(model, [text])[0], one) for text, one in zip(some, together, strict=True))


def test_frequencies_that_depend_on_the_length_are_those_of_the_call():
    """What is cached stays turned as it was: a cached step of the model itself is the yardstick."""
    from danlu.nn.caches import CACHES
    from danlu.nn.layout import Layout

    model, text = built("dynamic"), texts()[1]
    cache = CACHES["growing"](model.dims, 1, len(text))
    with torch.no_grad():
        told = [
            model(torch.tensor([[token]]), Layout.dense(torch.tensor([[token]]), cache, at))[0, 0]
            for at, token in enumerate(text)
        ]
    assert torch.allclose(made(model, [text])[0], torch.stack(told), atol=2e-5)


def test_several_tokens_of_one_text_in_one_call():
    model, text = built("mistral"), texts()[1]
    step = NativeStep.of(model)
    assert not isinstance(step, str)
    dims, count = model.dims, len(text)
    k, v = (torch.zeros(dims.layers, BLOCKS * BLOCK, dims.kv_heads, dims.head) for _ in range(2))
    positions, tables = torch.arange(count), torch.arange(5, dtype=torch.int32).expand(count, 5)
    logits = step(torch.tensor(text), positions, tables, (positions + 1).int(), k, v, BLOCK)
    assert torch.equal(logits, made(model, [text])[0])


def test_a_pool_of_half_width_rounds_keys_and_values_only():
    model, some = built("llama"), texts()
    for mine, theirs in zip(made(model, some, torch.bfloat16), expected(model, some), strict=True):
        assert (mine - theirs).abs().max() < 0.02 * theirs.abs().max()


@pytest.mark.parametrize("name", ["int8", "int4", "bf16"])
def test_stored_maps_are_read_as_they_are_kept(name):
    model, some = built("llama"), texts()
    store(model, STORAGES[name]())
    assert isinstance(NativeStep.of(model), NativeStep), "maps kept so must be read natively"
    dense = built("llama")
    for path, kept in model.named_modules():
        if isinstance(kept, Stored):
            dense.get_submodule(path).put(kept.dense(), None)
    for mine, theirs in zip(made(model, some), expected(dense, some), strict=True):
        assert (mine - theirs).abs().max() < 2e-6 * theirs.abs().max()
    for mine, theirs in zip(made(model, some, rounded=True), expected(dense, some), strict=True):
        assert (mine - theirs).abs().max() < 0.05 * theirs.abs().max()


def test_what_it_does_not_know_is_refused_with_a_reason():
    small = {"vocab": VOCAB, "seed": 1}
    reasons = {
        "glm4": "Sandwich",
        "bloom": "embed_norm",
        "mixtral": "Moe",
    }
    for name, reason in reasons.items():
        model = danlu.models.build(
            Spec.read({"use": name, **GROUPED} if name != "bloom" else {"use": name, **SIZES}), **small
        )
        assert reason in str(NativeStep.of(model.eval()))
    assert "at rest" in str(NativeStep.of(built("llama").train()))
    assert "at rest" in str(NativeStep.of(built("llama").double()))


def test_what_does_not_exist_is_an_error_and_not_a_wild_read():
    step = NativeStep.of(model := built("gpt2"))
    assert not isinstance(step, str)
    dims = model.dims
    k, v = (torch.zeros(dims.layers, 8, dims.kv_heads, dims.head) for _ in range(2))

    def asked(token: int = 1, position: int = 0, block: int = 0, length: int = 1) -> Tensor:
        tables, lengths = torch.tensor([[block, 1]], dtype=torch.int32), torch.tensor([length], dtype=torch.int32)
        return step(torch.tensor([token]), torch.tensor([position]), tables, lengths, k, v, 4)

    assert asked().shape == (1, VOCAB)
    for wrong in (
        {"token": VOCAB},
        {"token": -1},
        {"position": 64},
        {"block": 2},
        {"block": -1},
        {"length": 0},
        {"length": 9},
    ):
        with pytest.raises(ShapeError):
            asked(**wrong)


@pytest.mark.parametrize(
    ("heads", "kv_heads", "head", "window"), [(4, 4, 64, 0), (8, 2, 32, 7), (3, 1, 20, 0), (6, 1, 40, 3)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_is_the_formula(heads, kv_heads, head, window, dtype):
    torch.manual_seed(5)
    lengths, size = torch.tensor([1, 13, 6, 16], dtype=torch.int32), 4
    k, v = (torch.randn(80, kv_heads, head).to(dtype) for _ in range(2))
    q, tables = torch.randn(4, heads, head) * 3, torch.randperm(20)[:16].view(4, 4).int()
    got = native.attend(q, k, v, tables, lengths, size=size, window=window)
    for row, length in enumerate(lengths.tolist()):
        first = max(0, length - window) if window else 0
        places = [int(tables[row, i // size]) * size + i % size for i in range(first, length)]
        keys, values = (pool[places].double().repeat_interleave(heads // kv_heads, 1) for pool in (k, v))  # S H D
        weights = torch.einsum("hd,shd->hs", q[row].double(), keys).div(head**0.5).softmax(-1)
        assert (got[row] - torch.einsum("hs,shd->hd", weights, values)).abs().max() < 2e-6
