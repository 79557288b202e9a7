"""Floor 4: what a run costs, as pure calculators: parameters, arithmetic, bytes, seconds; and what it took."""

from .architectures import parameters_of
from .cases import answer, held
from .cost import Bill
from .devices import DEVICES, Device
from .inference import inference
from .kv import kv_bytes, kv_bytes_of, latent_kv_bytes
from .operations import device_hours, operations, pf_days, training_flops, training_flops_a_token, utilization
from .peak import Peak, allocating, measuring
from .published import activation_bytes_per_layer, by_convention, zero_bytes
from .ranks import Ranks
from .report import Plan
from .roofline import Bound
from .scaling import APPROACHES, CHINCHILLA, EPOCH, KAPLAN, compute_optimal, kaplan_loss
from .sizes import Sizes, parameters
from .trained import Trained, trained
from .work import Memory, Work

__all__ = [
    "APPROACHES",
    "CHINCHILLA",
    "DEVICES",
    "EPOCH",
    "KAPLAN",
    "Bill",
    "Bound",
    "Device",
    "Memory",
    "Peak",
    "Plan",
    "Ranks",
    "Sizes",
    "Trained",
    "Work",
    "activation_bytes_per_layer",
    "allocating",
    "answer",
    "by_convention",
    "compute_optimal",
    "device_hours",
    "held",
    "inference",
    "kaplan_loss",
    "kv_bytes",
    "kv_bytes_of",
    "latent_kv_bytes",
    "measuring",
    "operations",
    "parameters",
    "parameters_of",
    "pf_days",
    "trained",
    "training_flops",
    "training_flops_a_token",
    "utilization",
    "zero_bytes",
]
