"""LLaMA in all its published forms: logits, gradients and directories are those of transformers."""

from __future__ import annotations

import pytest
import torch

from danlu.models import save
from danlu.nn.layout import Layout

SIZES = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}  # fmt: skip
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
FORMS = {
    "llama 1": {"num_key_value_heads": 4},
    "llama 2, grouped": {},
    "llama 3": {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}, "rms_norm_eps": 1e-5},
    "llama 3.1": {"rope_parameters": {**LLAMA3, "rope_theta": 500000.0}},
    "llama 3.2, tied": {
        "rope_parameters": {**LLAMA3, "rope_theta": 500000.0, "factor": 32.0},
        "tie_word_embeddings": True,
    },
    "one kv head": {"num_key_value_heads": 1},
    "wide heads": {"head_dim": 12},
    "biased": {"attention_bias": True, "mlp_bias": True},
    "gelu": {"hidden_act": "gelu"},
    "gelu tanh": {"hidden_act": "gelu_pytorch_tanh"},
    "interpolated": {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}},
    "yarn": {"rope_parameters": {**YARN, "rope_theta": 10000.0}},
    "yarn, all settings": {
        "rope_parameters": {
            **YARN,
            "rope_theta": 1e5,
            "beta_fast": 16.0,
            "beta_slow": 2.0,
            "truncate": False,
            "attention_factor": 0.9,
        }
    },
    "yarn, mscale": {"rope_parameters": {**YARN, "rope_theta": 1e5, "mscale": 0.7, "mscale_all_dim": 1.2}},
}
TOKENS = torch.randint(0, 97, (2, 40), generator=torch.Generator().manual_seed(1))


def version_4(raw: dict) -> dict:
    """The same settings as transformers 4 wrote them."""
    rope = dict(raw.pop("rope_parameters"))
    raw["rope_theta"] = rope.pop("rope_theta")
    raw["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    raw["torch_dtype"] = raw.pop("dtype")
    return raw


@pytest.mark.parametrize("form", FORMS)
def test_logits_and_directories_agree(form, twins, reopened) -> None:
    theirs, ours, _ = twins("llama", **{**SIZES, **FORMS[form]})
    with torch.no_grad():
        expected = theirs(TOKENS).logits
        torch.testing.assert_close(ours(TOKENS), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(reopened(ours)(TOKENS).logits, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("form", ["llama 2, grouped", "llama 3.1", "yarn, all settings", "interpolated"])
def test_settings_of_transformers_4_mean_the_same(form, twins) -> None:
    theirs, ours, _ = twins("llama", version_4, **{**SIZES, **FORMS[form]})
    with torch.no_grad():
        torch.testing.assert_close(ours(TOKENS), theirs(TOKENS).logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("form", ["llama 2, grouped", "llama 3.2, tied", "biased"])
def test_gradients_agree(form, twins) -> None:
    theirs, ours, _ = twins("llama", **{**SIZES, **FORMS[form]})
    for model in (theirs, ours):
        logits = model(TOKENS)
        torch.nn.functional.cross_entropy(
            getattr(logits, "logits", logits)[:, :-1].flatten(0, 1), TOKENS[:, 1:].flatten()
        ).backward()
    from danlu.models.reading import entries_of

    named, parameters = dict(theirs.named_parameters()), dict(ours.named_parameters())
    for entry in entries_of(ours):
        grads = [parameters[name].grad for name in entry.ours]
        torch.testing.assert_close(entry.pack(grads), named[entry.name].grad, atol=1e-5, rtol=1e-4)


def test_padding_and_packing_agree(twins) -> None:
    theirs, ours, _ = twins("llama", **SIZES)
    with torch.no_grad():
        segment = torch.ones_like(TOKENS)
        segment[0, :15] = 0  # the shorter row is padded on the left
        position = (segment.cumsum(1) - 1).clamp(min=0)
        expected = theirs(TOKENS, attention_mask=segment, position_ids=position).logits
        found = ours(TOKENS, Layout(position, segment))
        torch.testing.assert_close(found[segment == 1], expected[segment == 1], atol=1e-4, rtol=1e-4)
        assert found.isfinite().all()
        lengths = [13, 20, 7]
        alone = torch.cat([theirs(part).logits for part in TOKENS[:1].split(lengths, 1)], 1)
        at = torch.cat([torch.arange(n) for n in lengths])[None]
        document = torch.repeat_interleave(torch.tensor([1, 2, 3]), torch.tensor(lengths))[None]
        torch.testing.assert_close(ours(TOKENS[:1], Layout.of(at, document)), alone, atol=1e-4, rtol=1e-4)


def test_the_interop_model_gives_its_reference_logits(shared, tmp_path) -> None:
    import numpy as np

    from danlu import load

    folder = shared / "interop/llama_gqa"
    reference = np.load(folder / "reference.npz")
    model, _ = load(folder)
    tokens = torch.from_numpy(reference["in_input_ids"]).long()
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), torch.from_numpy(reference["out_logits"]), atol=1e-4, rtol=1e-4)
        again, _ = load(save(model, None, tmp_path / "again"))
        assert torch.equal(again(tokens), model(tokens))


def test_shards_are_opened_by_both(twins, tmp_path) -> None:
    import transformers

    from danlu import load

    theirs, ours, _ = twins("llama", **SIZES)
    folder = save(ours, None, tmp_path / "shards", max_bytes=20_000)
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    with torch.no_grad():
        expected = theirs(TOKENS).logits
        opened = transformers.AutoModelForCausalLM.from_pretrained(folder)
        torch.testing.assert_close(opened(TOKENS).logits, expected, atol=1e-4, rtol=1e-4)
        assert torch.equal(load(folder)[0](TOKENS), ours(TOKENS))


def test_a_directory_with_its_tokenizer_is_opened_by_transformers(shared, tmp_path) -> None:
    """Text to ids to logits to text, once with danlu and once with transformers, from the same directory."""
    import json

    import transformers

    import danlu
    from danlu.core.spec import Spec
    from danlu.models import build

    tokenizer = danlu.load_tokenizer(shared / "tokenizers/minimind")
    model = build(Spec("llama", {"model": 32, "layers": 2, "heads": 4, "context": 64}), vocab=tokenizer.vocab_size)
    folder = danlu.save(model, tokenizer, tmp_path / "model")
    ours, own = danlu.load(folder)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder)
    other = transformers.AutoTokenizer.from_pretrained(folder)
    text = "Who wrote it? 今天天气很好。"
    ids = own.encode(text)
    assert ids == other(text, add_special_tokens=False)["input_ids"] == tokenizer.encode(text)
    with torch.no_grad():
        torch.testing.assert_close(ours(torch.tensor([ids])), theirs(torch.tensor([ids])).logits, atol=1e-4, rtol=1e-4)
        mine = danlu.generate(ours, own, [ids], max_tokens=8)[0].tokens
        generated = theirs.generate(torch.tensor([ids]), max_new_tokens=8, do_sample=False)[0, len(ids) :].tolist()
    assert generated[: len(mine)] == list(mine)
    generation = json.loads((folder / "generation_config.json").read_text())
    assert set(tokenizer.stops) <= set(generation["eos_token_id"])
