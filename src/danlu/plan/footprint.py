"""Bytes of training, moment by moment: what is held when the loss is taken, on the way back, and at the step."""

from __future__ import annotations

from ..core.spec import Spec
from ..models import Architecture, Recipe
from . import saved
from .recurrence import RecurrentStep
from .step import Rest, Step
from .work import Memory, Work


def memory(work: Work) -> Memory:
    """Peak bytes of each phase of a training step after the first, as torch's allocator counts them.

    loss: weights, optimizer, all that blocks keep, hidden states and their gradient, the logits of one chunk.
    backward: the same without logits, with the vectors that pass through the widest sublayer; gradients of the blocks
    already behind replace what these kept, so either the first block or the last is the peak.
    step: weights, optimizer, gradients; the fused update needs no more.
    Adapters, frozen weights and devices that shard are not counted yet.

    Source: derived from src/danlu (nn, objectives/chunked.py, train/trainer.py).
    Truth:  tests/parity/test_plan_memory.py (torch's allocator watched during steps of the Trainer).
    """
    return step_of(work).memory()


def step_of(work: Work) -> Step:
    """The calculator of this form of model; of forms without one, what all have."""
    return STEPS.get(work.recipe.form, Rest)(work)


class StackStep(Step):
    """What the blocks of a stack keep and pass."""

    recipe: Recipe

    @property
    def left_out(self) -> str:
        unknown = saved.uncounted(self.recipe)
        return f"no formula for what {', '.join(unknown)} keeps: the peak is a guess" if unknown else ""

    def memory(self) -> Memory:
        backward = max((self._backward(blocks) for blocks in self._places()), key=lambda k: sum(k.values()))
        last = self._last_gradients(tied=self.recipe.tied, narrow=self.recipe.embed)
        if sum(last.values()) > sum(backward.values()):
            backward = last
        return Memory({
            "load": {"weights": self.weights},
            "loss": self._held() | self._activations(self.dims.layers) | self._loss(),
            "backward": backward,
            "step": self._held() | {"gradients": self.weights},
        })  # fmt: skip

    def kept(self) -> float:
        return sum(saved.block(self.recipe, self.widths).values()) * self.dims.layers * self.work.slots

    def served(self, bytes_each: float) -> int:
        return self._keys(self.dims.layers, bytes_each)

    @property
    def masks(self) -> tuple[Spec, ...]:
        return self.recipe.masks

    @property
    def laid_out(self) -> int:
        return self.dims.layers * self.sizes.block_weights + self.sizes.head_weights

    @property
    def wide(self) -> int:
        return 1 + saved.FFN.get(self.recipe.ffn.use, saved.UNKNOWN_FFN).kept

    def _places(self) -> set[int]:
        """Where the peak may be: the last block, the first, and each below another of the same weights."""
        layers, twin = self.dims.layers, self.recipe.twin
        return {layers, 1, *(layer for layer in range(1, layers) if twin(layer - 1) == twin(layer))}

    def _copies(self, blocks: int, *, head: bool) -> int:
        """Half-width copies of weights that autocast makes and backward needs; recomputed blocks make theirs anew."""
        if not self.widths.autocast:
            return 0
        blocks = min(blocks, 1) if self.work.recompute else self._distinct(0, blocks)
        return 2 * (blocks * self.sizes.block_weights + head * self.sizes.head_weights)

    def _activations(self, blocks: int, *, head: bool = True) -> dict[str, int]:
        """What ``blocks`` blocks keep; with recomputation only what each read."""
        work = self.work
        copies = {"weight copies": self._copies(blocks, head=head)}
        angles = self.dims.head * 4 * work.length * (work.rows if work.documents else 1)
        if work.recompute:
            return copies | {"activations: stream": blocks * self.vectors + angles}
        kinds = saved.block(self.recipe, self.widths)
        masks = round(saved.masks(self.recipe, self.widths, work.rows, work.length, plain=not work.documents))
        found = {f"activations: {kind}": round(blocks * work.slots * each) for kind, each in kinds.items()}
        found["activations: stream"] += angles
        found["activations: attention"] += blocks * masks
        return copies | found

    def _final(self) -> int:
        """1 if a final norm keeps what it read."""
        return int(self.recipe.wiring.use != "post")

    def _distinct(self, first: int, stop: int) -> int:
        """How many of these layers have weights of their own."""
        return len({self.recipe.twin(layer) for layer in range(first, stop)})

    def _backward(self, blocks: int) -> dict[str, int]:
        """Inside block number ``blocks`` counted from below, at its widest, when those above are behind."""
        behind = self._distinct(blocks, self.dims.layers) * self.block_weights
        held = self._held() | self._activations(blocks, head=False)
        gradients = (self._summed() or behind) + self.head
        wide = max(self._norm() if blocks == self.dims.layers else 0, self._ffn(), self._attention())
        return held | {"gradients": gradients, "temporary": self.vectors + wide + self._inside()}

    def _inside(self) -> int:
        """What a recomputed block keeps beyond what it read."""
        if not self.work.recompute:
            return 0
        each = sum(saved.block(self.recipe, self.widths, whole=True).values())
        return round(self.work.slots * each) - self.vectors

    def _norm(self) -> int:
        passing = saved.NORM_PASSING.get(self.recipe.norm.use, 3)
        inside = self._inside()
        return max(0, (passing + self._final()) * self.vectors - inside)

    def _ffn(self) -> int:
        """Its gradients pass; what a norm after it read is gone already."""
        passing = saved.FFN.get(self.recipe.ffn.use, saved.UNKNOWN_FFN).passing
        vector, weight = self.work.slots * self.dims.ffn * self.widths.product, self.dims.ffn * self.dims.model * 4
        gone = 0 if self._final() or self.work.recompute else self.vectors
        passed = (
            passing * vector + weight
            if self.work.micros == 1
            else max(passing * vector, (passing - 1) * vector + weight)
        )
        return passed - gone

    def _attention(self) -> int:
        """The gradients of out, q, k and v pass when the feed-forward's keep is gone and its gradients are there."""
        dims, kinds = self.dims, saved.block(self.recipe, self.widths)
        passing = (2 * dims.heads + 2 * dims.kv_heads) * dims.head * self.widths.product
        behind = (
            0
            if self.work.micros > 1
            else 4 * (self.sizes.block_weights - dims.model * 2 * dims.head * (dims.heads + dims.kv_heads))
        )
        return round(self.work.slots * (passing - kinds["ffn"])) + behind


STEPS: dict[str, type[Step]] = {"stack": StackStep, "recurrent": RecurrentStep}
"""The forms of models whose activations are counted."""

TOKENS_FED = 16_384  # of prompts at once: infer/runner.py feeds longer ones in pieces
LAID_OUT = 2 << 30  # bytes of linear weights up to which generation on a CPU in fp32 lays out copies: infer/packed.py


def inference(
    recipe: Architecture, *, rows: int, length: int, prompt: int | None = None, bytes_each: float = 4, cpu: bool = True
) -> Memory:
    """Bytes of generating up to ``length`` tokens a row, of which ``prompt`` (by default all) are fed at once.

    load: weights; decode: weights, copies of them laid out for speed, key-value cache, logits; prefill: with the
    vectors of the widest sublayer for the tokens fed at once.

    Source: derived from src/danlu/infer and nn/caches/slab.py; Kwon et al. 2023, arXiv:2309.06180, §3.
    Truth:  tests/parity/test_plan_memory.py (torch's allocator watched while danlu.generate runs).
    """
    dims, step = recipe.dims, step_of(Work(recipe=recipe, rows=rows, length=length))
    weights = round(bytes_each * step.sizes.total)
    linear = round(bytes_each * step.laid_out)
    copies = linear if cpu and bytes_each == 4 and linear <= LAID_OUT else 0
    kept = {"weights": weights, "laid-out weights": copies, "kv cache": step.served(bytes_each) + 16 * rows * length}
    fed = min(TOKENS_FED, rows * (prompt or length))
    passing = round(fed * bytes_each * (3 * dims.model + step.wide * dims.ffn))
    logits = round(rows * dims.vocab * (4 + bytes_each))
    return Memory({
        "load": {"weights": weights},
        "prefill": kept | {"temporary": passing, "logits": logits},
        "decode": kept | {"logits": logits},
    })  # fmt: skip
