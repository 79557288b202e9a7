"""Images cut into patches that an encoder reads like tokens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...core.errors import ConfigError, ShapeError
from ...core.spec import Spec
from ...nn.layout import Layout
from ...nn.linear import Birth, Linear
from ...nn.model import Model
from ...nn.poolers import POOLERS
from ..notes import Notes
from ..recipe import Architecture, Recipe
from . import MODELS
from .stack import Stack

CLS = Spec("cls")


@dataclass(frozen=True, kw_only=True)
class VisionRecipe(Architecture):
    """An encoder over ``image`` × ``image`` pixels of ``channels`` colors, cut into squares of ``patch`` pixels.

    ``dims`` are the encoder's; its context is the patches and the class token before them. ``labels`` name the classes
    that are scored from what the ``pooler`` makes of an image; without labels there are none.
    """

    form: ClassVar[str] = "vision"
    encoder: Recipe
    image: int
    patch: int
    channels: int = 3
    pooler: Spec = CLS
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.patch < 1 or self.image % self.patch:
            raise ConfigError(f"image ({self.image}) must be a multiple of patch ({self.patch})")
        if self.channels < 1:
            raise ConfigError(f"channels must be at least 1, found {self.channels}")
        if self.dims != self.encoder.dims or self.dims.context != 1 + self.patches:
            raise ConfigError(
                f"an image of {self.patches} patches needs an encoder of context {1 + self.patches} with the same dims"
            )

    @property
    def patches(self) -> int:
        return (self.image // self.patch) ** 2

    @property
    def classes(self) -> int:
        return len(self.labels)


class Patches(nn.Module):
    """The class token and a vector for each square of pixels, row by row.  (B, C, image, image) → (B, 1 + N, M).

    x = [t; W p_1 + b; …; W p_N + b],  p_i: the C · patch² numbers of square i
    """

    def __init__(self, recipe: VisionRecipe) -> None:
        super().__init__()
        model, patch = recipe.dims.model, recipe.patch
        self.weight = nn.Parameter(torch.zeros(model, recipe.channels, patch, patch))
        self.bias = nn.Parameter(torch.zeros(model))
        self.token = nn.Parameter(torch.zeros(model))

    def forward(self, images: Tensor) -> Tensor:
        squares = F.conv2d(images, self.weight, self.bias, stride=self.weight.shape[-1]).flatten(2).transpose(1, 2)
        return torch.cat([self.token.to(squares.dtype).expand(len(squares), 1, -1), squares], 1)

    def born(self, birth: Birth) -> None:
        for drawn in (self.weight, self.token):
            nn.init.normal_(drawn, std=birth.std, generator=birth.generator)
        nn.init.zeros_(self.bias)


@MODELS.add("vision")
class Vision(Model):
    """Reads an image as a sequence of its patches, a token before them standing for the whole.

    hidden = encoder([t; patches]);  logits = W pooler(hidden) + b, or the pooled vector where no classes are scored
    Raises: ShapeError for images of another size; ConfigError for parts that do not fit.
    Source: Dosovitskiy et al. 2021, arXiv:2010.11929, §3.1.
    Truth:  tests/parity/test_families_vit.py (hidden states, logits and gradients of transformers).
    """

    reads: ClassVar[type[VisionRecipe]] = VisionRecipe

    def __init__(self, recipe: VisionRecipe) -> None:
        super().__init__()
        self.recipe, self.dims, self.notes = recipe, recipe.dims, Notes()
        self.patches = Patches(recipe)
        self.encoder = Stack(replace(recipe.encoder, head=None))
        self.encoder.embed = nn.Identity()  # type: ignore[assignment]  # patches stand where tokens are looked up
        self.pooler = recipe.pooler.build(POOLERS, recipe.dims, where="pooler")
        classes = recipe.classes
        self.head = Linear(classes, recipe.dims.model, axes=("class", "model"), bias=True) if classes else nn.Identity()

    def __setattr__(self, name: str, value: Any) -> None:
        """``recompute`` is that of the encoder."""
        super().__setattr__(name, value)
        if name == "recompute":
            self.encoder.recompute = value

    @property
    def foresees(self) -> bool:
        return self.encoder.foresees

    def hidden(self, tokens: Tensor, layout: Layout | None = None) -> Tensor:
        """Images (B, C, image, image) → (B, 1 + N, M)."""
        recipe = self.recipe
        expected = (recipe.channels, recipe.image, recipe.image)
        if tuple(tokens.shape[1:]) != expected:
            raise ShapeError(
                f"this model reads images of shape (B, {', '.join(map(str, expected))}), found {tuple(tokens.shape)}; "
                "resize or crop them"
            )
        x = self.patches(tokens)
        return self.encoder.through(x, layout or Layout.dense(x))

    def forward(self, tokens: Tensor, layout: Layout | None = None) -> Tensor:
        """Images (B, C, image, image) → scores of classes (B, classes), or (B, M) where there are none."""
        hidden = self.hidden(tokens, layout)
        return self.head(self.pooler(hidden, torch.ones(hidden.shape[:2], device=hidden.device)))
