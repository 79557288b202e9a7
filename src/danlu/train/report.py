"""report.json: what a run planned and what it took."""

from __future__ import annotations

import statistics
from typing import Any

from ..data import Prepared
from ..plan import Memory, Peak, parameters
from .recipe import Recipe
from .trainer import Trainer


def report(
    recipe: Recipe,
    trainer: Trainer,
    prepared: Prepared,
    lines: list[dict[str, Any]],
    *,
    stopped: str,
    seconds: float,
    peak: Peak,
    planned: Memory,
) -> dict[str, Any]:
    """Everything is counted or measured. ``this_process`` figures leave out what a killed process did before."""
    steps = [line for line in lines if "loss" in line]
    held = [line["held_out_loss"] for line in lines if "held_out_loss" in line]
    rates = sorted(line["tokens_per_s"] for line in steps)
    return {
        "steps": trainer.step,
        "stopped": stopped or None,
        "tokens": trainer.tokens_seen,
        "skipped_steps": trainer.skips,
        "skipped_batches": sorted(trainer.shunned),
        "parameters": parameters(trainer.model.recipe).total,
        "trained": sum(p.numel() for _, p in trainer.trained(trainer.model, trainer.objective)),
        "loss": {"first": steps[0]["loss"], "last": steps[-1]["loss"]} if steps else None,
        "held_out_loss": {"before": held[0], "after": held[-1]} if held else None,
        "tokens_per_s": rates[len(rates) // 2] if rates else None,
        "step_seconds": statistics.median(line["seconds"] for line in steps) if steps else None,
        "this_process": {"seconds": round(seconds, 2), "peak_bytes": peak.bytes_, "peak_of": peak.kind},
        "planned": {"peak_bytes": planned.peak_bytes, "peak_phase": planned.peak_phase, "bytes": planned.phases},
        "precision": recipe.train.precision.use,
        "device": trainer.device,
        "data": prepared.report,
    }
