"""The battery of storages: a frozen map kept in fewer bits is a map as any other, alone and in models."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from talkers import small_model, small_tokenizer
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from train_tiny import LLAMA, write_recipe

import danlu
from danlu import assembly, models
from danlu.core.errors import ConfigError
from danlu.core.files import sha256
from danlu.core.spec import Spec, settings_of
from danlu.models.families import FAMILIES
from danlu.nn.sites import Adapted
from danlu.nn.storages import STORAGES, PublishedStorage, Storage, Stored, maps_of, store
from danlu.peft.attached import attach
from danlu.plan.peak import allocating
from danlu.train.run import train

every = pytest.mark.parametrize("name", list(STORAGES))
PUBLISHED = [name for name in STORAGES if issubclass(STORAGES[name], PublishedStorage)]
published = pytest.mark.parametrize("name", PUBLISHED)
AXES = ("out", "in")
SHAPES = [(64, 64), (24, 96), (7, 33), (300, 130)]
ADAPTER = {"use": "lora", "rank": 2}


def storage(name: str) -> Storage:
    return STORAGES[name]()


def kept(name: str, shape: tuple[int, int] = (24, 96), seed: int = 0, bias: bool = False) -> tuple[Stored, Tensor]:
    """A map and the weight it was made from."""
    torch.manual_seed(seed)
    weight = torch.randn(shape) * 0.1
    return storage(name).keep(weight, torch.randn(shape[0]) if bias else None, AXES), weight


def bytes_of(part: torch.nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*part.parameters(), *part.buffers()))


def multiplies_what_it_reads(name: str) -> bool:
    """Whether activations stay as they are."""
    x = torch.linspace(-1, 1, 96)[None]
    return torch.equal(kept(name)[0].read(x), x)


class Reading(torch.nn.Module):
    """Full weights, and the activations that a map multiplies."""

    def __init__(self, part: Stored) -> None:
        super().__init__()
        self.reads, self.linear = [part.read], part.linear()

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.reads[0](x))


@every
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_kept_is_as_near_as_its_bits_promise(name: str, shape: tuple[int, int]) -> None:
    """2⁻ᵇ is the step between 2ᵇ equal levels; levels that are not equal, and constants, may cost a factor of 4."""
    part, weight = kept(name, shape)
    bits = min(part.storage.bits, 10)  # of wide types, some bits are the exponent's
    assert (part.dense() - weight).norm() < 4 * 2**-bits * weight.norm()
    assert (part.out_features, part.in_features, part.axes) == (*shape, AXES)


@every
def test_bits_are_what_is_kept(name: str) -> None:
    part, weight = kept(name, (2048, 2048))
    held = sum(tensor.nbytes for tensor in part.state_dict().values())
    assert held * 8 / weight.numel() == pytest.approx(part.storage.bits, rel=0.003)


@every
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bias", [False, True])
def test_it_answers_and_passes_gradients_as_its_dense_weights_do(name: str, shape: tuple[int, int], bias: bool) -> None:
    part, _ = kept(name, shape, bias=bias)
    x = torch.randn(2, 5, shape[1], requires_grad=True)
    twin = x.detach().clone().requires_grad_()
    y, expected = part(x), torch.nn.functional.linear(part.read(twin), part.dense(), part.bias)
    pull = torch.randn_like(y)
    y.backward(pull)
    expected.backward(pull)
    assert torch.allclose(y, expected, atol=1e-5)
    assert x.grad is not None
    assert twin.grad is not None
    assert torch.allclose(x.grad, twin.grad, atol=1e-5)


@every
def test_pieces_of_a_large_weight_are_the_weight(name: str) -> None:
    part, weight = kept(name, (1111, 1500))
    x = torch.randn(3, 1500)
    assert torch.allclose(part(x), part.read(x) @ part.dense().T, atol=1e-4)
    assert (part.dense() - weight).norm() < 0.3 * weight.norm()
    again = storage(name).keep(weight[704:], None, AXES)
    assert (again.dense() - part.dense()[704:]).norm() < 0.01 * weight.norm()


@every
def test_it_computes_in_the_dtype_of_what_it_reads_or_of_autocast(name: str) -> None:
    part, _ = kept(name, bias=True)
    x = torch.randn(4, 96)
    exact = part(x)
    for dtype in (torch.bfloat16, torch.float32):
        assert part(x.to(dtype)).dtype == dtype
    with torch.autocast("cpu", torch.bfloat16):
        cast = part(x)
    assert cast.dtype == torch.bfloat16
    assert torch.allclose(cast.float(), exact, atol=0.05)


@every
def test_between_forward_and_backward_no_dense_weight_lives(name: str) -> None:
    part, weight = kept(name, (512, 512))
    x = torch.randn(2, 512, requires_grad=True)
    with allocating() as peak:
        y = part(x)
    assert peak.left < weight.nbytes / 16
    y.sum().backward()
    assert x.grad is not None


@every
def test_a_state_dict_comes_back(name: str) -> None:
    part, _ = kept(name, seed=1, bias=True)
    other, _ = kept(name, seed=2, bias=True)
    x = torch.randn(3, 96)
    assert not torch.equal(part(x), other(x))
    other.load_state_dict(part.state_dict())
    assert torch.equal(part(x), other(x))


@every
def test_copies_are_their_own(name: str) -> None:
    part, _ = kept(name)
    twin, before = copy.deepcopy(part), part.dense().clone()
    for buffer in twin.buffers():
        buffer.zero_()
    assert torch.equal(part.dense(), before)


@every
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_converting_a_model_leaves_what_is_kept_as_it_is(name: str, dtype: torch.dtype) -> None:
    part, _ = kept(name, bias=True)
    before = part.dense()
    torch.nn.ModuleList([part]).to(dtype)
    assert torch.equal(part.dense(), before)
    assert part.bias.dtype == dtype
    assert all(buffer.is_meta for buffer in part.to("meta").buffers())


@every
def test_it_does_not_train_and_takes_no_merged_weight(name: str) -> None:
    part, weight = kept(name, bias=True)
    assert not any(parameter.requires_grad for parameter in part.parameters())
    with pytest.raises(ConfigError, match="--dequantize"):
        part.put(weight, None)
    made = part.linear()
    assert torch.equal(made.weight, part.dense())
    assert torch.equal(made.bias, part.bias)


@published
def test_what_is_published_is_restored(name: str) -> None:
    part, _ = kept(name, seed=1)
    config = part.storage.published(torch.float32)
    found = [one for other in PUBLISHED if (one := STORAGES[other].of_published(config)) is not None]
    assert [type(one) for one in found] == [type(part.storage)]
    again = found[0].restore(part.tensors(), None, AXES)
    assert torch.equal(again.dense(), part.dense())


@published
def test_rows_are_cut_and_joined(name: str) -> None:
    part, _ = kept(name, (24, 128))
    rows = {key: tensor[torch.arange(23, -1, -1)] for key, tensor in part.rows().items()}
    turned = part.storage.of_rows(rows, None, part)
    assert torch.allclose(turned.dense(), part.dense().flip(0), atol=1e-7)


@every
def test_fake_tensors_pass(name: str) -> None:
    """The planner traces a step on tensors that have shapes and no numbers."""
    with FakeTensorMode():
        part = storage(name).keep(torch.empty(300, 130), torch.empty(300), AXES)
        x = torch.empty(2, 5, 130, requires_grad=True)
        y = part(x)
        y.backward(torch.empty_like(y))
        assert y.shape == (2, 5, 300)
        assert x.grad is not None
    real = storage(name).keep(torch.randn(300, 130), torch.randn(300), AXES)
    assert [b.shape for b in part.buffers()] == [b.shape for b in real.buffers()]


# ── in models ────────────────────────────────────────────────────────────────────────────────────────────────────────
@every
def test_a_model_keeps_its_blocks_maps_and_nothing_else(name: str) -> None:
    model = small_model(model=64)
    whole = bytes_of(model)
    tokens = torch.arange(8)[None]
    before = model(tokens)
    store(model, storage(name))
    stored = {place for place, part in model.named_modules() if isinstance(part, Stored)}
    assert len(stored) == 3 * 7
    assert all(place.startswith("blocks.") for place in stored)
    assert bytes_of(model) < whole
    answer = model(tokens)
    assert not torch.equal(answer, before)
    assert torch.cosine_similarity(answer.flatten(), before.flatten(), 0) > 0.7


@every
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_quantized_while_loading_is_quantized_afterwards(name: str, family: str, tmp_path: Path) -> None:
    folder = models.save(small_model(family, model=64), None, tmp_path / "base")
    after, _ = models.load(folder)
    store(after, storage(name))
    while_loading, _ = danlu.load(folder, storage=name)
    ours, theirs = after.state_dict(), while_loading.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert not any(tensor.is_meta for tensor in theirs.values())


@every
@pytest.mark.parametrize("family", ["llama", "gpt2", "glm", "bloom"])
def test_saved_is_loaded(name: str, family: str, tmp_path: Path) -> None:
    tokens = torch.arange(12)[None]
    model = small_model(family, model=64)
    store(model, storage(name))
    folder = danlu.save(model, None, tmp_path / "kept")
    again, _ = danlu.load(folder)
    assert torch.allclose(again(tokens), model(tokens), atol=1e-4)
    if name in PUBLISHED:
        stored = [type(part) for part in model.modules() if isinstance(part, Stored)]
        assert [type(part) for part in again.modules() if isinstance(part, Stored)] == stored
        filled = small_model(family, model=64, seed=9)
        store(filled, storage(name))
        models.read_into(filled, folder)
        assert torch.allclose(filled(tokens), model(tokens), atol=1e-4)


SIZES = {
    "model": 64, "layers": 2, "heads": 4, "kv_heads": 2, "context": 32, "head": 16, "ffn": 128, "width": 128,
    "window": 6, "image": 16, "patch": 4, "classes": 5,
}  # fmt: skip


@pytest.mark.parametrize("family", list(FAMILIES))
@pytest.mark.parametrize("name", PUBLISHED[:1])
def test_every_family_is_kept_saved_and_loaded(name: str, family: str, tmp_path: Path) -> None:
    known = settings_of(FAMILIES[family])
    sizes = {key: value for key, value in SIZES.items() if key in known and not (key == "ffn" and "width" in known)}
    model = models.build(Spec(family, sizes), vocab=50, seed=3)
    plain = models.save(model, None, tmp_path / "plain")
    if not maps_of(model):
        with pytest.raises(ConfigError, match="no blocks whose linear maps could be kept; strike storage"):
            store(model, storage(name))
        return
    store(model, storage(name))
    for again in (
        models.load(plain, storage=storage(name))[0],
        models.load(models.save(model, None, tmp_path / "k"))[0],
    ):
        for ours, theirs in zip(model.modules(), again.modules(), strict=True):
            assert type(ours) is type(theirs)
            if isinstance(ours, Stored):
                assert torch.allclose(ours.dense(), theirs.dense(), atol=1e-7)
        for (key, ours), (_, theirs) in zip(model.named_parameters(), again.named_parameters(), strict=True):
            assert torch.equal(ours, theirs), key


@every
def test_the_whole_model_is_never_in_memory(name: str, tmp_path: Path) -> None:
    model = small_model(model=256, layers=6, vocab=300)
    whole, largest = bytes_of(model), max(p.nbytes for p in model.parameters())
    folder = models.save(model, None, tmp_path / "base", max_bytes=largest)
    del model
    with allocating() as peak:  # counts a file as long as it is open
        loaded, _ = models.load(folder, storage=storage(name))
    slack = 8 * largest  # the file, the tensor of it, and what quantizing it takes
    assert peak.bytes_ < bytes_of(loaded) + slack < whole


@every
def test_a_model_with_a_longer_context_keeps_what_is_kept(name: str) -> None:
    model = small_model(model=64)
    store(model, storage(name))
    longer = models.repositioned(model, None, context=256)
    tokens = torch.arange(12)[None]
    assert torch.equal(longer(tokens), model(tokens))
    assert longer.dims.context == 256


@every
def test_an_adapter_acts_on_it_and_is_not_merged_unless_dequantized(name: str) -> None:
    model = small_model(model=64)
    store(model, storage(name))
    torch.manual_seed(0)
    attach(model, Spec.read(ADAPTER))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    tokens = torch.arange(8)[None]
    expected = model(tokens)
    with pytest.raises(ConfigError, match="dequantize"):
        assembly.merge(copy.deepcopy(model))
    merged = assembly.merge(model, dequantize=True)
    assert not any(isinstance(part, Adapted) for part in merged.modules())
    assert torch.allclose(merged(tokens), expected, atol=2e-3 if multiplies_what_it_reads(name) else 0.5)


@every
def test_text_is_generated_as_the_dense_model_would(name: str, tmp_path: Path) -> None:
    model, tokenizer = small_model(model=64), small_tokenizer(tmp_path)
    store(model, storage(name))
    dense = copy.deepcopy(model)
    for place, part in list(dense.named_modules()):
        if isinstance(part, Stored):
            parent, _, leaf = place.rpartition(".")
            full = part.linear() if multiplies_what_it_reads(name) else Reading(part)
            setattr(dense.get_submodule(parent), leaf, full)
    prompts = [[5, 6, 7], [9, 10, 11, 12]]
    texts = [danlu.generate(one, tokenizer, prompts, max_tokens=40) for one in (model, dense)]
    same = 40 if multiplies_what_it_reads(name) else 8  # an activation halfway between two numbers may go either way
    assert [c.tokens[:same] for c in texts[0]] == [c.tokens[:same] for c in texts[1]]
    assert any(isinstance(part, Stored) for part in model.modules())


@every
@pytest.mark.slow
def test_a_run_with_storage_and_adapter_learns_and_resumes_bit_for_bit(name: str, tmp_path: Path) -> None:
    folder, base = tmp_path / "run", tmp_path / "base"
    path = write_recipe(folder, hooks=[{"use": "save", "every": 4, "keep": 3}, "log"])
    tokenizer = danlu.load_tokenizer(folder / "tokenizer")
    newborn = models.build(Spec.read(LLAMA | {"model": 64}), vocab=tokenizer.vocab_size, seed=1)
    models.save(newborn, tokenizer, base)
    recipe = yaml.safe_load(path.read_text())
    del recipe["architecture"], recipe["tokenizer"]
    recipe |= {"base": str(base), "storage": name, "adapter": ADAPTER, "train": {**recipe["train"], "steps": 8}}
    path.write_text(yaml.safe_dump(recipe))
    whole = train(path, out=tmp_path / "whole", quiet=True)
    assert any(isinstance(part, Stored) for part in whole.model.modules())
    assert whole.metrics[-1]["loss"] < whole.metrics[0]["loss"]
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    for left in ("final", "checkpoints/step-000008"):
        shutil.rmtree(tmp_path / "killed" / left)
    (tmp_path / "killed" / "report.json").unlink()
    train(path, out=tmp_path / "killed", quiet=True)
    state = "final/danlu/adapter.safetensors"
    assert sha256(tmp_path / "killed" / state) == sha256(tmp_path / "whole" / state)
