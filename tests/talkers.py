"""Small models that decide firmly, and a tokenizer of bytes, for the tests of generating and measuring."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers

import danlu.models
from danlu.core.spec import Spec
from danlu.models import Stack
from danlu.tokenize import Tokenizer, load_tokenizer

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
WORDS = ["Ġt", "he", "Ġthe", "ä½", "å¥", "ä½ł", "å¥½", "ä½łå¥½"]
MERGES = [("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("ä", "½"), ("å", "¥"), ("ä½", "ł"), ("å¥", "½"), ("ä½ł", "å¥½")]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def small_tokenizer(folder: Path) -> Tokenizer:
    """All bytes, a few merges that end inside and at the end of characters, ChatML; 267 pieces, no bos."""
    pieces = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), *WORDS]
    backend = Backend(models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=MERGES))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(SPECIAL)
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    config = {"eos_token": "<|endoftext|>", "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return load_tokenizer(folder)


def small_model(use: str = "llama", *, vocab: int = 267, seed: int = 3, **sizes: float | str | None) -> Stack:
    """Random weights, large enough that logits differ and that what came long before matters; None: no such size."""
    settings = {"model": 48, "layers": 3, "heads": 4, "context": 96} | sizes
    told = {name: size for name, size in settings.items() if size is not None}
    model = danlu.models.build(Spec.read({"use": use, **told}), vocab=vocab, seed=seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                weight.mul_(20 if "embed" in name or "head" in name else 8)
    return model.eval()
