"""Floor 4: what a run costs, as pure calculators: parameters, arithmetic, bytes, seconds; and what it took."""

from .footprint import inference, memory
from .kv import kv_bytes, latent_kv_bytes
from .operations import operations
from .peak import Peak, allocating, measuring
from .report import Plan
from .sizes import Sizes, parameters
from .work import Memory, Work

__all__ = [
    "Memory",
    "Peak",
    "Plan",
    "Sizes",
    "Work",
    "allocating",
    "inference",
    "kv_bytes",
    "latent_kv_bytes",
    "measuring",
    "memory",
    "operations",
    "parameters",
]
