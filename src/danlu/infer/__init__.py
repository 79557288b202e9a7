"""Floor 4: a model at work: generating, chatting and scoring, batched and cached."""

from .generation import Generation, generate, stream
from .local import Local
from .sampling import Sampling
from .scoring import log_likelihoods

__all__ = ["Generation", "Local", "Sampling", "generate", "log_likelihoods", "stream"]
