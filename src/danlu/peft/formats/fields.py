"""adapter_config.json as it is found: settings taken one by one, so that none is silently lost."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from ...core.errors import CheckpointError

# fmt: off
SILENT = frozenset(
    {
        "peft_type", "peft_version", "auto_mapping", "base_model_name_or_path", "revision", "task_type",
        "inference_mode", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern",
        "modules_to_save", "fan_in_fan_out", "megatron_core", "megatron_config", "runtime_config", "eva_config",
        "loftq_config", "corda_config", "lora_ga_config", "velora_config", "qalora_group_size", "ensure_weight_tying",
        "init_ia3_weights", "feedforward_modules", "token_dim", "num_attention_heads", "num_layers", "bias",
        "num_transformer_submodules", "prompt_tuning_init", "prompt_tuning_init_text", "tokenizer_name_or_path",
        "tokenizer_kwargs", "encoder_reparameterization_type", "encoder_hidden_size", "encoder_num_layers",
        "encoder_dropout", "prefix_projection", "init_weights", "num_virtual_tokens",
    }
)
# fmt: on
"""Settings of training, or ones that the names and shapes of the tensors tell better."""

HARMFUL = {
    "layer_replication": "it repeats layers of the base; build the base so, and train on that",
    "lora_bias": "biases inside the low-rank product are not built",
    "trainable_token_indices": "single rows of an embedding are not adapted; save whole modules (modules_to_save)",
    "alora_invocation_tokens": "an adapter that begins to act at certain tokens is not built",
    "use_qalora": "pooled inputs (QA-LoRA) are not built",
    "monteclora_config": "sampled factors are not built",
    "use_bdlora": "block-diagonal factors are not built",
    "arrow_config": "routing between adapters is not built",
    "kasa_config": "it changes the base itself",
    "target_parameters": "parameters outside of linear maps are not adapted",
}
"""Settings that change the result and that nothing here serves, with the reason that the refusal gives."""


class Fields:
    """The settings of an adapter_config.json; ``finish`` deals with those that were not taken."""

    def __init__(self, raw: dict[str, Any], where: str) -> None:
        self.raw, self.where = raw, where
        self._left = set(raw)

    def take(self, key: str, default: Any) -> Any:
        """The value, or the default where it is absent or null, which it must be like; like None is anything."""
        self._left.discard(key)
        value = self.raw.get(key)
        if value is None or default is None:
            return default if value is None else value
        kind = (int, float) if isinstance(default, float) else type(default)
        if not isinstance(value, kind) or (isinstance(value, bool) and not isinstance(default, bool)):
            raise CheckpointError(f"{self.where}: {key} must be {type(default).__name__}, found {value!r}; repair it")
        return value

    def refusal(self, key: str, because: str) -> CheckpointError:
        return CheckpointError(f"{self.where}: {key} = {self.raw.get(key)!r} cannot be served: {because}")

    def expect_used(self, left: Collection[str], found: Collection[str], what: str) -> None:
        """Raises CheckpointError if tensors are left over, or none was found."""
        if left:
            raise CheckpointError(
                f"{self.where}: the tensor {min(left)!r} ({len(left)} such) has no place here; {what} is served in "
                "linear maps, and other modules are saved whole (modules_to_save)"
            )
        if not found:
            raise CheckpointError(f"{self.where}: beside it lies no tensor of {what}; fetch the adapter again")

    def finish(self) -> None:
        """Raises CheckpointError for a setting that changes the result and was not read; logs those never heard of."""
        for key in sorted(self._left - SILENT):
            value = self.raw[key]
            if value in (None, False, [], {}, ""):
                continue
            if key in HARMFUL:
                raise self.refusal(key, HARMFUL[key])
            logging.getLogger("danlu").warning(
                "%s: the setting %s = %r is not known and ignored", self.where, key, value
            )
