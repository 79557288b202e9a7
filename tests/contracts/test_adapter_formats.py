"""Every format of PEFT's folders: what it writes of an adapter it reads again, and each adapter has one at most."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch

from danlu import assembly, models
from danlu.assembly.folder import PEFT_STATE, settings, tensors_in
from danlu.assembly.published import published
from danlu.core.errors import CheckpointError
from danlu.core.spec import Spec
from danlu.models import build
from danlu.peft import ADAPTERS
from danlu.peft.attached import attach, switch_of
from danlu.peft.formats import FORMATS
from danlu.peft.formats.fields import Fields

TOKENS = torch.arange(24).view(2, 12)
METHODS = [(name, method) for name in FORMATS for method in FORMATS[name].methods]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    llama = Spec.read({"use": "llama", "model": 48, "layers": 2, "heads": 4, "context": 128})
    return models.save(build(llama, vocab=40), None, tmp_path_factory.mktemp("formats") / "base")


def test_an_adapter_is_written_in_one_format() -> None:
    assert set(Counter(method for _, method in METHODS).values()) == {1}
    assert {method for _, method in METHODS} <= set(ADAPTERS)


@pytest.mark.parametrize(("name", "method"), METHODS)
def test_what_is_written_is_read_again(name: str, method: str, base: Path, tmp_path: Path) -> None:
    """Under its own type, from PEFT's files alone, with the same answers; and written again the files are the same."""
    model, _ = models.load(base)
    attach(model, Spec(method))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
        model.eval()
        for folder in (tmp_path / "first", tmp_path / "second"):
            folder.mkdir()
            assembly.write_into(model, None, folder)
            expected, config = model(TOKENS), settings(folder)
            shutil.rmtree(folder / "danlu")
            model, _ = assembly.load(folder, base=str(base))
            torch.testing.assert_close(model(TOKENS), expected, atol=1e-5, rtol=1e-5)
            if folder.name == "first":
                assert config["peft_type"] == name.upper()
                assert switch_of(model).adapters["default"].spec.use in ADAPTERS
    first, second = (tensors_in(tmp_path / one / PEFT_STATE) for one in ("first", "second"))
    assert first.keys() == second.keys()
    for key in first:
        torch.testing.assert_close(first[key], second[key])


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_folder_without_its_tensors_is_refused(name: str, base: Path) -> None:
    model, _ = models.load(base)
    known = published(model)
    assert known is not None
    for tensors in ({}, {"model.layers.0.self_attn.q_proj.sparkle": torch.ones(3)}):
        with pytest.raises(CheckpointError, match=r"no tensor of|has no place here"):
            FORMATS[name]().read(Fields({}, "adapter_config.json"), tensors, known)
