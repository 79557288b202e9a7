"""Another encoding for the same weights: positions squeezed by a factor turn as those before them did."""

from __future__ import annotations

import pytest
import torch
from talkers import small_model

from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.models import build, repositioned
from danlu.nn.layout import Layout

TOKENS = torch.randint(0, 267, (2, 20), generator=torch.Generator().manual_seed(1))


def test_the_same_encoding_is_the_same_model() -> None:
    model = small_model("decoder", position="rope", context=24)
    twin = repositioned(model, model.recipe.position, context=48)
    assert torch.equal(twin(TOKENS), model(TOKENS))
    assert (twin.dims.context, model.dims.context) == (48, 24)
    assert {p.data_ptr() for p in twin.parameters()}.isdisjoint(p.data_ptr() for p in model.parameters())


def test_interpolated_by_two_at_even_positions_is_the_model_as_trained() -> None:
    model = small_model("decoder", position="rope", context=24)
    twin = repositioned(model, Spec.read({"use": "rope", "scaling": {"use": "interpolation", "factor": 2.0}}))
    position = torch.arange(0, 40, 2).expand(2, 20)
    spread = Layout(position, torch.ones_like(position))
    with torch.inference_mode():
        assert torch.allclose(twin(TOKENS, spread), model(TOKENS), atol=1e-4)
        assert not torch.allclose(twin(TOKENS), model(TOKENS), atol=1e-2)


def test_weights_of_an_encoding_that_is_gone_are_left_behind() -> None:
    model = small_model("decoder", position="learned", context=24)
    twin = repositioned(model, Spec("none"))
    assert {name for name, _ in model.named_parameters()} - {name for name, _ in twin.named_parameters()} == {
        "position.table.weight"
    }
    assert twin.limit is None
    assert model.limit == 24


@pytest.mark.parametrize("position", ["learned", "t5", "fire"])
def test_an_encoding_with_weights_of_its_own_is_refused(position: str) -> None:
    with pytest.raises(ConfigError, match=rf"position '{position}' needs the weight 'position\..* has not learned"):
        repositioned(small_model("decoder", position="rope", context=24), Spec(position))


def test_a_longer_table_is_refused() -> None:
    model = small_model("decoder", position="learned", context=24)
    with pytest.raises(ConfigError, match=r"of shape \[48, 48\], which this model has not learned"):
        repositioned(model, Spec("learned"), context=48)


def test_an_encoder_decoder_has_no_single_encoding() -> None:
    sizes = {"use": "t5", "model": 16, "layers": 1, "heads": 2, "context": 16}
    with pytest.raises(ConfigError, match="only a stack has one encoding of positions to replace"):
        repositioned(build(Spec.read(sizes), vocab=40), Spec("none"))
