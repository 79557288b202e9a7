"""A plan as one page of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .kv import thumb_kv_bytes
from .operations import training_flops
from .published import rules_of_thumb
from .roofline import decode_seconds, step_operations, training_operations
from .scaling import compute_optimal
from .units import aligned, duration, flop, phases, rate, size

if TYPE_CHECKING:
    from .choices import Choice
    from .report import Plan


def page(plan: Plan) -> str:
    """Parameters, bytes, what fits, arithmetic and time, generation, rules of thumb, notes."""
    parts = [parameters(plan), training(plan), fitting(plan), arithmetic(plan), generation(plan), thumb(plan)]
    notes = "\n".join(f"note: {note}" for note in plan.said)
    return "\n\n".join(filter(None, [f"plan of {plan.title}", *parts, notes]))


def parameters(plan: Plan) -> str:
    sizes, trains = plan.sizes, plan.trained
    rows = [(kind, f"{n:,}") for kind, n in sizes.kinds.items() if n] + [("total", f"{sizes.total:,}")]
    if sizes.active != sizes.total:
        rows.append(("active for a token", f"{sizes.active:,}"))
    if plan.work.adapter:
        rows.append((f"trained by {plan.work.adapter.use}", f"{trains.trains:,}"))
    return aligned([("parameters", ""), *rows])


def training(plan: Plan) -> str:
    work = plan.work
    cut = f"{work.micros} micro-batch{'es' * (work.micros > 1)} of {work.rows} × {work.length} tokens"
    ways = [
        work.precision.use,
        f"{work.adapter.use} adapter" if work.adapter else "everything trains",
        f"frozen weights as {work.storage.use}" if work.storage else "",
        f"{work.recompute} recomputed" if work.recompute != "none" else "",
        plan.ranks.words if plan.ranks.count > 1 else "",
    ]
    each = "bytes of each rank" if plan.ranks.count > 1 else "bytes"
    return f"a training step: {cut}, {', '.join(filter(None, ways))}\n{phases(plan.phases, each)}"


def fitting(plan: Plan) -> str:
    verdict = "fits" if plan.fits else "does not fit"
    head = (
        f"peak {size(plan.peak_bytes)} in {plan.memory.peak_phase}, {size(plan.need_bytes)} with holes and the "
        f"process: {verdict} into {size(plan.room)} of {plan.device.name}"
    )
    rows = [("choice", "peak", "needs", "arithmetic", "fits"), *(_choice(plan, each) for each in plan.choices)]
    return "\n".join([head, *_way(plan), aligned(rows), "≈ reckoned from a trace of the same step; the rest is traced"])


def _choice(plan: Plan, choice: Choice) -> tuple[str, ...]:
    near = "" if choice.traced else "≈ "
    fits = "yes" if choice.need_bytes <= plan.room else "no"
    times = f"{choice.arithmetic:.2f} ×"
    return choice.changes, near + size(choice.peak_bytes), size(choice.need_bytes), times, fits


def _way(plan: Plan) -> list[str]:
    """What to do if it does not fit."""
    if plan.fits:
        return []
    change, least = plan.remedies
    if change is not None:
        times = f"{change.arithmetic:.2f} × the arithmetic"
        return [f"the mildest that fits: {change.changes}, {size(change.need_bytes)}, {times}"]
    other = plan.search.way_out(plan.room)
    nearest = f"nothing fits with the same gradients; the nearest is {least.changes}, {size(least.need_bytes)}"
    if other is None:
        return [nearest]
    return [nearest, f"another way to train that fits: {other.changes}, {size(other.need_bytes)}"]


def arithmetic(plan: Plan) -> str:
    done, tokens = step_operations(plan.work), plan.work.slots * plan.work.micros
    rows = [
        ("arithmetic of a step" + " on each rank" * (plan.ranks.count > 1), ""),
        ("forward: linear, attention, head", f"{flop(done.linear)}, {flop(done.scores)}, {flop(done.head)}"),
        ("exact, with gradients", flop(training_operations(plan.work))),
        ("rule of thumb 6·N·D", flop(training_flops(plan.sizes.active, tokens))),
    ]
    rows += _time(plan) if plan.device.timed else [("time", "name a device to know it, for example --gpu rtx4090")]
    return aligned(rows)


def _time(plan: Plan) -> list[tuple[str, str]]:
    (low, high), bound, tokens = plan.seconds, plan.bound, plan.tokens_a_step
    pace = f"{duration(low)} to {duration(high)} a step, {rate(tokens / high)} to {rate(tokens / low)} tokens/s"
    limit = f"{bound.by}-bound: {bound.intensity:,.0f} FLOP a byte, the device turns at {bound.ridge:,.0f}"
    rows = [(f"time on {plan.device.name}", pace), ("roofline", limit)]
    if bills := plan.bills:
        least, most = bills
        days = f"{duration(86_400 * least.days)} to {duration(86_400 * most.days)}"
        rows.append(("the whole run", f"{plan.steps:,} steps, {(plan.steps or 0) * tokens:,} tokens, {days}"))
        rows.append(("device hours", f"{least.device_hours:,.3g} to {most.device_hours:,.3g}"))
        if plan.price:
            rows.append((f"cost at {plan.price:g} an hour", f"{least.money:,.2f} to {most.money:,.2f}"))
    return rows


def generation(plan: Plan) -> str:
    decode = plan.inference.phases["decode"]
    read = decode["weights"] + decode["kv cache"]
    rows = f"{plan.serve_rows} row{'s' * (plan.serve_rows > 1)} of up to {plan.work.length} tokens"
    head = f"generation: {rows}, {plan.serve_bytes:g} bytes a number\n{phases(plan.inference)}"
    if not plan.device.timed:
        return head
    pace = duration(decode_seconds(read, plan.device))
    return f"{head}\nat least {pace} a token of each row (weights and cache are read once)"


def thumb(plan: Plan) -> str:
    sizes, work = plan.sizes, plan.work
    dims = work.recipe.dims
    kv = thumb_kv_bytes(layers=dims.layers, hidden=dims.model, tokens=work.length, rows=plan.serve_rows)
    rows = [("rules of thumb, beside the figures above", "")]
    rows += [(rule, size(bytes_)) for rule, bytes_ in rules_of_thumb(sizes.total).items()]
    rows.append(("kv cache in 16 bit, 4·b·l·h·(s + n)", size(kv)))
    best = compute_optimal(sizes.total)
    return "\n\n".join([aligned(rows), aligned([
        ("tokens that make this size the best use of its arithmetic", ""),
        *((law, f"{tokens:,.3g}") for law, tokens in best.items()),
    ])])  # fmt: skip
