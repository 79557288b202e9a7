"""Text to ids and back: training, reading and extending tokenizers, and the chat template with a weight per token."""

from __future__ import annotations

from .decoder import Decoder
from .extend import Extended, extend, extend_with, tokens_per_character
from .load import load_tokenizer
from .profile import Profile
from .template import Rendered, Template
from .tokenizer import Tokenizer
from .trainers import TRAINERS
from .training import train

__all__ = [
    "TRAINERS",
    "Decoder",
    "Extended",
    "Profile",
    "Rendered",
    "Template",
    "Tokenizer",
    "extend",
    "extend_with",
    "load_tokenizer",
    "tokens_per_character",
    "train",
]
