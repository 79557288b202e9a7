"""config.json as it is found: settings of transformers 4 and 5, taken one by one, so that none is silently lost."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any, TypeVar

from ..core.errors import CheckpointError

T = TypeVar("T")

TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")
"""Special token ids: kept as notes and written back."""

# fmt: off
SILENT = frozenset(
    {
        "architectures", "attention_dropout", "attn_pdrop", "auto_map", "chunk_size_feed_forward",
        "classifier_dropout", "cross_attention_hidden_size", "decoder_start_token_id", "dtype", "embd_pdrop",
        "finetuning_task", "id2label", "initializer_range", "is_decoder", "is_encoder_decoder", "label2id",
        "model_max_length", "model_type", "n_ctx", "num_labels", "output_attentions", "output_hidden_states",
        "prefix", "pretraining_tp", "problem_type", "resid_pdrop", "return_dict", "sep_token_id",
        "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type",
        "summary_use_proj", "task_specific_params", "tokenizer_class", "torch_dtype", "torchscript",
        "transformers_version", "unk_token_id", "unsloth_fixed", "unsloth_version", "use_cache",
    }
)
# fmt: on
"""Settings that do not change the logits of a forward pass."""

HARMFUL = {
    "quantization_config": "its weights are stored quantized; load the unquantized original",
    "num_experts": "a mixture of experts is another family",
    "num_local_experts": "a mixture of experts is another family",
    "attn_logit_softcapping": "soft-capped scores are not built",
    "final_logit_softcapping": "soft-capped logits are not built",
    "embedding_multiplier": "scaled embeddings are not built",
    "residual_multiplier": "scaled residuals are not built",
    "attention_multiplier": "another scale of the scores is not built",
    "logits_scaling": "scaled logits are not built",
    "logit_scale": "scaled logits are not built",
    "partial_rotary_factor": "turning only a part of each head is not built",
    "rope_scaling": "this family does not turn its queries and keys, so there is nothing to scale; strike it",
    "rope_parameters": "this family does not turn its queries and keys, so there is nothing to scale; strike it",
    "use_qk_norm": "this family has no norm on queries and keys; qwen3 has",
    "qk_norm": "this family has no norm on queries and keys; qwen3 has",
}
"""Settings that change the logits and that no family here reads, with the reason that the refusal gives."""


class Settings:
    """The settings of a config.json; ``take`` marks one as understood, ``finish`` deals with those that were not.

    ``tensors`` are the names of the weights that lie beside it, as far as there are any.
    """

    def __init__(self, raw: dict[str, Any], where: str, tensors: Collection[str] = ()) -> None:
        self.raw, self.where, self.tensors = raw, where, tensors
        self._left = set(raw)

    def take(self, key: str, default: T) -> T:
        """The value (or the default where it is absent or null), which must be of the default's kind."""
        self._left.discard(key)
        value = self.raw.get(key)
        if value is None:
            return default
        return self._typed(key, value, type(default)) if default is not None else value

    def need(self, key: str, kind: type[T]) -> T:
        """The value of a setting without which there is no model."""
        self._left.discard(key)
        if self.raw.get(key) is None:
            raise CheckpointError(f"{self.where}: the setting {key!r} is missing; restore config.json from its source")
        return self._typed(key, self.raw[key], kind)

    def assuming(self, key: str, value: Any) -> Settings:
        """The same settings with another default where a key is absent or null."""
        if self.raw.get(key) is None:
            self.raw = {**self.raw, key: value}
            self._left.add(key)
        return self

    def lacks(self, tensor: str) -> bool:
        """Whether weights lie beside the file and this tensor is not among them."""
        return bool(self.tensors) and tensor not in self.tensors

    def require(self, key: str, value: Any, because: str) -> None:
        """Refuses every value of a setting but one (or null)."""
        if self.take(key, None) not in (None, value):
            raise self.refusal(key, because)

    def refusal(self, key: str, because: str) -> CheckpointError:
        return CheckpointError(f"{self.where}: {key} = {self.raw.get(key)!r} cannot be served: {because}")

    def finish(self) -> None:
        """Raises CheckpointError for a setting that changes the logits and was not read; logs those never heard of."""
        for key in sorted(self._left - SILENT - set(TOKENS)):
            value = self.raw[key]
            if key.startswith("_") or value in (None, False, 0, 1.0, [], {}, ""):
                continue
            if key in HARMFUL:
                raise self.refusal(key, HARMFUL[key])
            logging.getLogger("danlu").warning(
                "%s: the setting %s = %r is not known and ignored", self.where, key, value
            )

    def _typed(self, key: str, value: Any, kind: type[T]) -> T:
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)  # type: ignore[return-value]
        if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
            return value
        raise CheckpointError(f"{self.where}: {key} must be {kind.__name__}, found {value!r}; repair config.json")
