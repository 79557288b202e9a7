"""One token of every sequence through a whole model in one call of the native kernels."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import byref
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import ShapeError
from ..models.forms.stack import Stack
from ..nn import native
from ..nn.activation import GELU, GELU_TANH, RELU, SILU, Activation
from ..nn.attention import Attention
from ..nn.ffns import GatedFfn
from ..nn.ffns.gelu import Gelu
from ..nn.ffns.relu import Relu
from ..nn.ffns.swish import Swish
from ..nn.heads.linear import LinearHead
from ..nn.layout import Layout
from ..nn.linear import Linear
from ..nn.masks import Both, Mask
from ..nn.masks.causal import Causal
from ..nn.masks.window import Window
from ..nn.model import Model
from ..nn.native.calls import CCall, CLayer, CMatrix, CNorm, CStack, address
from ..nn.native.library import library
from ..nn.native.products import structure
from ..nn.norms.layer import LayerNorm
from ..nn.norms.rms import RmsNorm
from ..nn.positions import Position
from ..nn.positions.learned import Learned
from ..nn.positions.none import NoPosition
from ..nn.positions.rope import HALVES, Rope
from ..nn.scalings import Scaling
from ..nn.storages import Stored
from ..nn.wirings.pre import PreNorm
