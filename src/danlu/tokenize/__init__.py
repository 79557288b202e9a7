"""Text to ids and back: training, reading and extending tokenizers, and the chat template with a weight per token."""

from __future__ import annotations

from .decoder import Decoder
from .load import load_tokenizer
from .profile import Profile
from .tokenizer import Tokenizer

__all__ = ["Decoder", "Profile", "Tokenizer", "load_tokenizer"]
