"""A model of transformers with random weights, written to a directory, and the same directory read by danlu."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from danlu.models import load
from danlu.nn.model import Model

transformers = pytest.importorskip("transformers")
transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()

Pair = tuple[Any, Any, Path]


@pytest.fixture
def twins(tmp_path: Path) -> Callable[..., Pair]:
    """(transformers' model, danlu's model read from the directory that the first one wrote, the directory)."""

    def make(
        model_type: str, rewrite: Callable[[dict], dict] = dict, *, auto: str = "AutoModelForCausalLM", **settings: Any
    ) -> Pair:
        config = transformers.AutoConfig.for_model(model_type, **settings)
        torch.manual_seed(0)
        theirs = getattr(transformers, auto).from_config(config, attn_implementation="eager").eval()
        with torch.no_grad():
            for parameter in theirs.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)  # biases and norms are born as zeros and ones
        folder = tmp_path / "theirs"
        theirs.save_pretrained(folder)
        raw = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(rewrite(raw)))
        ours, tokenizer = load(folder)
        assert tokenizer is None
        return theirs, ours, folder

    return make


@pytest.fixture
def reopened(tmp_path: Path) -> Callable[..., Any]:
    """transformers' model of the directory that danlu writes."""

    def make(model: Model, auto: str = "AutoModelForCausalLM") -> Any:
        from danlu.models import save

        folder = save(model, None, tmp_path / "ours")
        return getattr(transformers, auto).from_pretrained(folder, attn_implementation="eager").eval()

    return make
