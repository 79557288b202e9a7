"""Bytes of training, moment by moment: what is held when the loss is taken, on the way back, and at the step."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..models import Recipe
from . import saved
from .kv import kv_bytes
from .sizes import Sizes, parameters

BATCH_BYTES, INDEX_BYTES = (
    36,
    24,
)  # a slot's tokens, targets, position, segment and weight; and what is derived from them


@dataclass(frozen=True, kw_only=True)
class Work:
    """One micro-batch of a run: ``rows`` of ``length`` tokens; ``micros`` of them make a step.

    ``optimizer_bytes`` a parameter are the optimizer's states; ``documents``: rows hold several, attended one by one;
    ``counted`` is the share of slots whose logits are computed; ``chunk`` tokens' logits exist at once.
    """

    recipe: Recipe
    rows: int
    length: int
    micros: int = 1
    precision: str = "fp32"
    recompute: bool = False
    chunk: int = 1024
    optimizer_bytes: float = 8
    documents: bool = False
    counted: float = 1.0

    @property
    def slots(self) -> int:
        return self.rows * self.length


@dataclass(frozen=True)
class Memory:
    """Bytes by phase and kind; the peak is the dearest phase."""

    phases: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def peak_bytes(self) -> int:
        return max(sum(kinds.values()) for kinds in self.phases.values())

    @property
    def peak_phase(self) -> str:
        return max(self.phases, key=lambda name: sum(self.phases[name].values()))


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
    return _Step(work).memory()


class _Step:
    """The quantities of one step, in bytes, each named once."""

    def __init__(self, work: Work) -> None:
        self.work, self.recipe, self.dims = work, work.recipe, work.recipe.dims
        self.sizes: Sizes = parameters(work.recipe)
        self.widths = saved.Widths.of(work.precision)
        self.weights, self.block_weights = 4 * self.sizes.total, 4 * self.sizes.block
        self.head = 4 * self.sizes.head_weights
        self.vectors = work.slots * self.dims.model * 4  # one vector of the residual stream a slot

    def memory(self) -> Memory:
        backward = max((self._backward(blocks) for blocks in (self.dims.layers, 1)), key=lambda k: sum(k.values()))
        last = self._last_gradients()
        if sum(last.values()) > sum(backward.values()):
            backward = last
        return Memory({
            "load": {"weights": self.weights},
            "loss": self._held() | self._activations(self.dims.layers) | self._loss(),
            "backward": backward,
            "step": self._held() | {"gradients": self.weights},
        })  # fmt: skip

    def _held(self) -> dict[str, int]:
        """What is there all the time: weights, optimizer, batches, and gradients once a micro-batch has left some."""
        work = self.work
        optimizer = round(work.optimizer_bytes * self.sizes.total)
        gradients = self.weights if work.micros > 1 else 0
        batch = work.slots * (BATCH_BYTES * work.micros + INDEX_BYTES)
        return {"weights": self.weights, "optimizer": optimizer, "gradients": gradients, "batch": batch}

    def _copies(self, blocks: int, *, head: bool) -> int:
        """Half-width copies of weights that autocast makes and backward needs; recomputed blocks make theirs anew."""
        if not self.widths.autocast:
            return 0
        blocks = min(blocks, 1) if self.work.recompute else blocks
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

    def _loss(self) -> dict[str, int]:
        """The last chunk: logits, their slope, the head's gradient and the chunk's, hidden and its gradient."""
        work, counted = self.work, max(1, round(self.work.slots * self.work.counted))
        chunk = min(work.chunk, counted)
        logits = 8 * chunk * self.dims.vocab  # fp32 logits and slope; half logits, fp32 slope and its half copy
        heads = min(2, -(-counted // work.chunk)) * self.head
        hidden = self.vectors * (2 + self._final()) + round(self.vectors * (work.counted < 1) * work.counted)
        chunked = 4 * chunk * self.dims.model
        if work.precision == "fp16":  # chunks wait for the backward pass and leave one gradient of the head
            heads = self.head
        return {"logits": logits, "gradients": heads + self._summed(), "temporary": hidden + chunked}

    def _final(self) -> int:
        """1 if a final norm keeps what it read."""
        return int(self.recipe.wiring.use != "post")

    def _summed(self) -> int:
        return self.weights if self.work.micros > 1 else 0

    def _backward(self, blocks: int) -> dict[str, int]:
        """Inside block number ``blocks`` counted from below, at its widest, when those above are behind."""
        behind = (self.dims.layers - blocks) * self.block_weights
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

    def _last_gradients(self) -> dict[str, int]:
        """After the first block: all gradients, and the embedding's; a tied table sums it with the head's anew."""
        copies = (1 if self.widths.autocast else 2) * self.recipe.tied + (self.work.micros > 1)
        extra = copies * 4 * self.dims.vocab * self.dims.model
        return self._held() | {"gradients": self.weights + extra, "temporary": self.vectors}


TOKENS_FED = 16_384  # of prompts at once: infer/runner.py feeds longer ones in pieces
LAID_OUT = 2 << 30  # bytes of linear weights up to which generation on a CPU in fp32 lays out copies: infer/packed.py


def inference(
    recipe: Recipe, *, rows: int, length: int, prompt: int | None = None, bytes_each: float = 4, cpu: bool = True
) -> Memory:
    """Bytes of generating up to ``length`` tokens a row, of which ``prompt`` (by default all) are fed at once.

    load: weights; decode: weights, copies of them laid out for speed, key-value cache, logits; prefill: with the
    vectors of the widest sublayer for the tokens fed at once.

    Source: derived from src/danlu/infer and nn/caches/slab.py; Kwon et al. 2023, arXiv:2309.06180, §3.
    Truth:  tests/parity/test_plan_memory.py (torch's allocator watched while danlu.generate runs).
    """
    sizes, dims = parameters(recipe), recipe.dims
    weights = round(bytes_each * sizes.total)
    linear = round(bytes_each * (dims.layers * sizes.block_weights + sizes.head_weights))
    copies = linear if cpu and bytes_each == 4 and linear <= LAID_OUT else 0
    cache = kv_bytes(
        layers=dims.layers, kv_heads=dims.kv_heads, head=dims.head, tokens=length, rows=rows, bytes_each=bytes_each
    )
    kept = {"weights": weights, "laid-out weights": copies, "kv cache": cache + 16 * rows * length}
    fed = min(TOKENS_FED, rows * (prompt or length))
    wide = 1 + saved.FFN.get(recipe.ffn.use, saved.UNKNOWN_FFN).kept
    passing = round(fed * bytes_each * (3 * dims.model + wide * dims.ffn))
    logits = round(rows * dims.vocab * (4 + bytes_each))
    return Memory({
        "load": {"weights": weights},
        "prefill": kept | {"temporary": passing, "logits": logits},
        "decode": kept | {"logits": logits},
    })  # fmt: skip
