"""A vocabulary of forty ids with every role, and models small enough to work by hand, for the tests of objectives."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from danlu.core.spec import Spec
from danlu.models import Recipe, build
from danlu.models.forms import made
from danlu.models.forms.encdec import EncDecRecipe
from danlu.nn.dims import Dims
from danlu.nn.layout import Layout
from danlu.nn.model import Model
from danlu.objectives.vocabulary import Vocabulary

WORDS = Vocabulary(
    size=40,
    special=frozenset([0, 1, 2, 3, 4, 36, 37, 38, 39]),
    roles={"pad": 0, "bos": 1, "eos": 2, "cls": 1, "sep": 2, "mask": 3, "start": 4, "end": 36},
    sentinels=(39, 38, 37),
)
BERT = {"use": "bert", "model": 32, "layers": 2, "heads": 4, "context": 64, "ffn": 64, "dropout": 0.0}


class Bigram(Model):
    """p(told | shown token) ∝ exp(table[token]): every place by itself."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.dims = Dims(vocab=size, model=size, heads=1, layers=1, context=64)
        self.table = nn.Parameter(torch.randn(size, size))
        self.head = nn.Identity()

    def hidden(self, tokens: Tensor, layout: Layout | None = None) -> Tensor:
        return self.table[tokens]


def encoder(**changes: object) -> Model:
    """A small BERT with its pooler and two classes."""
    return build(Spec.read(BERT | changes), vocab=40, seed=0)


def encdec() -> Model:
    """A small encoder-decoder of plain parts."""
    side = {"position": Spec("sinusoidal"), "std": 0.1}
    dims = Dims(vocab=40, model=32, heads=4, layers=1, context=64, ffn=48)
    encoder = Recipe(dims=dims, masks=(Spec("full"),), head=None, **side)  # type: ignore[arg-type]
    decoder = Recipe(dims=dims, cross=True, **side)  # type: ignore[arg-type]
    model = made(EncDecRecipe(dims=dims, encoder=encoder, decoder=decoder, begin=0))
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            drawn = torch.randn(parameter.shape, generator=rng)
            parameter.copy_(1 + 0.1 * drawn if "norm" in name else 0.2 * drawn)
    return model
