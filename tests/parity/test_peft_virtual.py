"""Virtual tokens with the numbers of peft's: equal logits, and equal greedy tokens."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from danlu.core.spec import Spec
from danlu.infer.packed import Prepared
from danlu.infer.runner import Runner
from danlu.nn.model import Model
from danlu.peft.attached import attach, restore_state, state_of

peft = pytest.importorskip("peft")

SMALL = {"vocab_size": 60, "max_position_embeddings": 40}
MODELS: dict[str, dict[str, Any]] = {
    "llama": {**SMALL, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
              "num_key_value_heads": 2},
    "gpt2": {"vocab_size": 60, "n_positions": 40, "n_embd": 32, "n_layer": 2, "n_head": 4, "bos_token_id": 1,
             "eos_token_id": 2},
    "mistral": {**SMALL, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
                "num_key_value_heads": 1, "sliding_window": None},
    "bloom": {"vocab_size": 60, "hidden_size": 32, "n_layer": 2, "n_head": 4},
}  # fmt: skip
COUNT, WIDTH = 3, 24


def prefix(state: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """(n, layers · 2 · K · D) to each layer's (n, 2, K, D)."""
    return {f"{layer}.numbers": part for layer, part in enumerate(state["embedding.weight"].chunk(layers, 1))}


def projected(state: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """One network for all layers: its last map is cut into one a layer."""
    found = {
        "0.trunk.tokens": state["embedding.weight"],
        "0.trunk.down.weight": state["transform.0.weight"],
        "0.trunk.down.bias": state["transform.0.bias"],
    }
    for kind in ("weight", "bias"):
        parts = state[f"transform.2.{kind}"].chunk(layers)
        found |= {f"{layer}.up.{kind}": part for layer, part in enumerate(parts)}
    return found


def prompt(state: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    return {"vectors.table": state["embedding.weight"]}


def encoder(state: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    names = {"embedding.weight": "tokens", "mlp_head": "net", "lstm_head": "lstm"}
    found = {}
    for name, tensor in state.items():
        head = next(head for head in names if name.startswith(head))
        found[f"vectors.{names[head]}{name.removeprefix(head)}"] = tensor
    return found


METHODS: dict[str, tuple[Callable[[], Any], Spec, Callable[[dict[str, Tensor], int], dict[str, Tensor]]]] = {
    "prefix": (
        lambda: peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=COUNT),
        Spec("ptuning_v2", {"length": COUNT}), prefix,
    ),
    "projected prefix": (
        lambda: peft.PrefixTuningConfig(
            task_type="CAUSAL_LM", num_virtual_tokens=COUNT, prefix_projection=True, encoder_hidden_size=WIDTH
        ),
        Spec("prefix", {"length": COUNT, "width": WIDTH}), projected,
    ),
    "prompt": (
        lambda: peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=COUNT),
        Spec("prompt", {"length": COUNT}), prompt,
    ),
    "mlp": (
        lambda: peft.PromptEncoderConfig(
            task_type="CAUSAL_LM", num_virtual_tokens=COUNT, encoder_hidden_size=WIDTH,
            encoder_reparameterization_type="MLP",
        ),
        Spec("ptuning", {"length": COUNT, "width": WIDTH, "encoder": "mlp"}), encoder,
    ),
    "lstm": (
        lambda: peft.PromptEncoderConfig(
            task_type="CAUSAL_LM", num_virtual_tokens=COUNT, encoder_hidden_size=WIDTH,
            encoder_reparameterization_type="LSTM", encoder_num_layers=2,
        ),
        Spec("ptuning", {"length": COUNT, "width": WIDTH, "encoder": "lstm"}), encoder,
    ),
}  # fmt: skip


def adapted(theirs: Any, ours: Model, method: str) -> Any:
    """Both models with an adapter of the same numbers, peft's large enough to matter; answers peft's."""
    configure, spec, translate = METHODS[method]
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = peft.get_peft_model(theirs, configure()).eval()
    encoder = wrapped.prompt_encoder["default"]
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    attach(ours, spec)
    mine = state_of(ours, "default")
    known = translate(dict(encoder.state_dict()), ours.dims.layers)

    def named(place: str) -> str:
        """``blocks.1.sublayers.attention.kv.up.weight`` → ``1.up.weight``, ``inputs.vectors.table`` → its end."""
        if place.startswith("inputs."):
            return place.removeprefix("inputs.")
        return f"{place.split('.')[1]}.{place.partition('.kv.')[2]}"

    restore_state(ours, "default", {place: known[named(place)].view_as(like) for place, like in mine.items()}, "peft")
    assert len(known) == len(mine)
    return wrapped


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", MODELS)
def test_equal_logits(kind: str, method: str, twins: Callable[..., Any]) -> None:
    theirs, ours, _ = twins(kind, **MODELS[kind])
    tokens = torch.randint(0, 60, (2, 9), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        before = ours(tokens)
        wrapped = adapted(theirs, ours, method)
        found, expected = ours.eval()(tokens), wrapped(input_ids=tokens).logits[:, -9:]
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=2e-5)
    assert not torch.allclose(found, before, atol=0.05)


@pytest.mark.parametrize("method", METHODS)
def test_equal_gradients(method: str, twins: Callable[..., Any]) -> None:
    theirs, ours, _ = twins("llama", **MODELS["llama"])
    tokens = torch.randint(0, 60, (2, 9), generator=torch.Generator().manual_seed(2))
    wrapped = adapted(theirs, ours, method)
    (ours.train()(tokens) ** 2).mean().backward()
    wrapped(input_ids=tokens).logits[:, -9:].square().mean().backward()
    found = [p.grad.abs().sum() for p in ours.parameters() if p.grad is not None]
    expected = [p.grad.abs().sum() for p in wrapped.prompt_encoder.parameters()]
    torch.testing.assert_close(torch.stack(found).sum(), torch.stack(expected).sum(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_equal_greedy_tokens(kind: str, method: str, twins: Callable[..., Any]) -> None:
    theirs, ours, _ = twins(kind, **MODELS[kind])
    wrapped = adapted(theirs, ours, method)
    prompt, steps = [5, 9, 30, 12], 10
    tokens = torch.tensor([prompt])
    settings = {"do_sample": False, "max_new_tokens": steps, "eos_token_id": None, "pad_token_id": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = wrapped.generate(input_ids=tokens, attention_mask=torch.ones_like(tokens), **settings)[0].tolist()
    runner = Runner(Prepared(ours.eval()))
    logits, found = runner.start([prompt], steps), []
    for _ in range(steps):
        found.append(int(logits.argmax()))
        logits = runner.step(logits.argmax(-1)) if len(found) < steps else logits
    assert found == expected[-steps:]


@pytest.mark.parametrize("method", ["prompt", "mlp"])
def test_an_encoder_decoder_reads_them_with_its_source(method: str, twins: Callable[..., Any]) -> None:
    """The encoder reads virtual tokens, and the decoder looks at them, too."""
    theirs, ours, _ = twins(
        "t5", auto="AutoModelForSeq2SeqLM", vocab_size=60, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4,
        decoder_start_token_id=0,
    )  # fmt: skip
    configure, spec, translate = METHODS[method]
    config = configure()
    config.task_type, config.num_transformer_submodules = "SEQ_2_SEQ_LM", 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = peft.get_peft_model(theirs, config).eval()
    encoder = wrapped.prompt_encoder["default"]
    source, target = (torch.randint(0, 60, (2, n), generator=torch.Generator().manual_seed(n)) for n in (9, 5))
    mask = torch.tensor([[1] * 9, [1] * 6 + [0] * 3])
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
        attach(ours, spec)
        known = translate(dict(encoder.state_dict()), 2)
        place = "encoder.inputs."
        restore_state(ours, "default", {f"{place}{name}": tensor for name, tensor in known.items()}, "peft")
        expected = wrapped(input_ids=source, attention_mask=mask, decoder_input_ids=target).logits
        torch.testing.assert_close(ours.eval().translate(source, target, mask), expected, atol=2e-5, rtol=2e-5)
