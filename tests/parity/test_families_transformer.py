"""The Transformer of 2017 as Marian publishes it: logits, gradients and directories are those of transformers."""

from __future__ import annotations

import json

import pytest
import torch

from danlu import load
from danlu.core.errors import CheckpointError
from danlu.models.reading import entries_of

SIZES = {
    "vocab_size": 97, "d_model": 32, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 40, "max_position_embeddings": 64,
    "activation_function": "relu", "scale_embedding": True, "pad_token_id": 96, "decoder_start_token_id": 96,
    "eos_token_id": 0, "forced_eos_token_id": None, "dropout": 0.0,
}  # fmt: skip
FORMS = {
    "2017": {},
    "swish": {"activation_function": "swish"},
    "gelu": {"activation_function": "gelu"},
    "unscaled": {"scale_embedding": False},
    "two vocabularies": {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 61, "pad_token_id": 60},
}
AUTO = "AutoModelForSeq2SeqLM"
RANDOM = torch.Generator().manual_seed(1)
SOURCE = torch.randint(1, 60, (3, 40), generator=RANDOM)
TARGET = torch.randint(1, 60, (3, 21), generator=RANDOM)
SEEN = torch.ones_like(SOURCE)
SEEN[1, 25:] = 0
SEEN[2, 7:] = 0


def said(theirs, target=TARGET):
    return theirs(input_ids=SOURCE, attention_mask=SEEN, decoder_input_ids=target).logits


@pytest.fixture
def biased(twins, tmp_path):
    """Random logit biases too, which transformers keeps as a buffer."""

    def make(form: str):
        theirs, _, _ = twins("marian", auto=AUTO, **(SIZES | FORMS[form]))
        for side in (theirs.model.encoder, theirs.model.decoder):  # moved with all parameters, and never trained
            side.embed_positions.weight.data = side.embed_positions.create_weight()
        theirs.final_logits_bias.copy_(torch.randn(theirs.final_logits_bias.shape, generator=RANDOM))
        theirs.save_pretrained(tmp_path / "biased")
        return theirs, load(tmp_path / "biased")[0]

    return make


@pytest.mark.parametrize("form", FORMS)
def test_logits_and_directories_agree(form, biased, reopened) -> None:
    theirs, ours = biased(form)
    with torch.no_grad():
        expected = said(theirs)
        torch.testing.assert_close(ours.translate(SOURCE, TARGET, SEEN), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(said(reopened(ours, AUTO)), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("form", ["2017", "two vocabularies"])
def test_gradients_agree(form, biased) -> None:
    """No target holds padding, whose vector transformers never moves."""
    theirs, ours = biased(form)
    for logits in (said(theirs.train()), ours.train().translate(SOURCE, TARGET, SEEN)):
        torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), TARGET[:, 1:].flatten()).backward()
    named, parameters = dict(theirs.named_parameters()), dict(ours.named_parameters())
    for entry in entries_of(ours):
        if entry.name in named:
            grads = [parameters[name].grad for name in entry.ours]
            torch.testing.assert_close(entry.pack(grads), named[entry.name].grad, atol=1e-5, rtol=1e-4)
    assert {"final_logits_bias"} == {entry.name for entry in entries_of(ours)} - set(named)


def test_greedy_answers_agree(biased) -> None:
    from danlu.infer.packed import Prepared
    from danlu.infer.runner import Runner

    theirs, ours = biased("2017")
    with torch.no_grad():
        for table in (theirs.model.shared, ours.embed):
            table.weight.mul_(3)  # decides firmly
    expected = theirs.generate(
        SOURCE, attention_mask=SEEN, max_new_tokens=20, min_new_tokens=20, do_sample=False, num_beams=1, eos_token_id=0,
        decoder_start_token_id=96, pad_token_id=96,
    )  # fmt: skip
    prompts = [row[: int(seen.sum())].tolist() for row, seen in zip(SOURCE, SEEN, strict=True)]
    runner = Runner(Prepared(ours))
    rows = [runner.start(prompts, 20)[:, 1:].argmax(-1) + 1]  # 0 ends, and it must not stop yet
    while len(rows) < 20:
        rows.append(runner.step(rows[-1])[:, 1:].argmax(-1) + 1)
    assert torch.equal(torch.stack(rows, 1), expected[:, 1:])


def test_waves_in_older_files_are_passed_over(biased, tmp_path) -> None:
    from safetensors.torch import load_file, save_file

    _, ours = biased("2017")
    tensors = load_file(tmp_path / "biased/model.safetensors")
    tensors |= {f"model.{side}.embed_positions.weight": torch.ones(64, 32) for side in ("encoder", "decoder")}
    save_file(tensors, tmp_path / "biased/model.safetensors")
    with torch.no_grad():
        again = load(tmp_path / "biased")[0].translate(SOURCE, TARGET, SEEN)
        assert torch.equal(again, ours.translate(SOURCE, TARGET, SEEN))


def test_norms_before_sublayers_are_refused(biased, tmp_path) -> None:
    biased("2017")
    config = tmp_path / "biased/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"normalize_before": True}))
    with pytest.raises(CheckpointError, match="normalize_before = True cannot be served: this family normalizes after"):
        load(tmp_path / "biased")
