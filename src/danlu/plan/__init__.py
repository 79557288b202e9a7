"""Floor 4: what a model or a run costs, as pure calculators: parameters, arithmetic, bytes, seconds; and what it took."""

from .footprint import Memory, Work, memory
from .kv import kv_bytes, latent_kv_bytes
from .peak import Peak, allocating, measuring
from .sizes import Sizes, parameters

__all__ = [
    "Memory",
    "Peak",
    "Sizes",
    "Work",
    "allocating",
    "kv_bytes",
    "latent_kv_bytes",
    "measuring",
    "memory",
    "parameters",
]
