"""A LoRA step against peft's, and adapters switched: one LLaMA of 109 M parameters, the same rows, one thread a side.

python benchmarks/lora.py                     the table
python benchmarks/lora.py side FOLDER NAME    one side, which prints its JSON (used by the table)
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from table import row, skipped, text  # noqa: E402

LENGTH, ROWS, STEPS, RANK = 512, 2, 6, 16  # the first of STEPS warms up and is not timed
VOCAB = 6400
LLAMA = {"use": "llama", "model": 768, "layers": 12, "heads": 12, "ffn": 2560, "context": 1024}
OURS = {"all": "blocks.*.{q,k,v,o,gate,up,down}", "qv": "blocks.*.{q,v}"}
THEIRS = {
    "all": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "qv": ["q_proj", "v_proj"],
}


WHY = (
    "torch's profiler: 77 % of our step are products and 15 % fused attention, the same calls on both sides, so 8 % "
    "are left to save. Everything is kept for backward here (recompute: keep)"
)


def rows() -> list[dict[str, Any]]:
    if find_spec("peft") is None:
        return [skipped("LoRA", "peft is not installed: pip install 'danlu[bench]'", against="peft")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _run("prepare", folder)
        return [line for maps in OURS for line in _steps(folder, maps)] + _switching(folder)


def _steps(folder: Path, maps: str) -> list[dict[str, Any]]:
    a, b = (_figures(folder, f"both-{maps}")[key] for key in ("danlu", "peft"))
    m, n = (_figures(folder, f"{side}-{maps}")["mib"] for side in ("danlu", "peft"))
    return [
        row(f"LoRA step, {maps}, speed", a, b, unit="tokens/CPU s", against="peft", aim=1.15, why=WHY),
        row(f"LoRA step, {maps}, peak memory", m, n, unit="MiB above imports", against="peft", aim=0.8, lower=True),
    ]


def _figures(folder: Path, side: str) -> dict[str, float]:
    return json.loads(_run("side", folder, side).splitlines()[-1])


def _switching(folder: Path) -> list[dict[str, Any]]:
    ours, peer = (_figures(folder, f"{side}-switch")["ms"] for side in ("danlu", "peft"))
    return [row("switch of two adapters", ours, peer, unit="ms", against="peft set_adapter", aim=1.0, lower=True)]


def _run(*arguments: object) -> str:
    quiet = {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "PYTHONWARNINGS": "ignore",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(Path(__file__)), *map(str, arguments)]
    done = subprocess.run(command, env={**os.environ, **quiet}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{arguments}: {done.stderr.strip()[-800:]}")
    return done.stdout


def prepare(folder: Path) -> None:
    import danlu
    from danlu import models
    from danlu.core.spec import Spec

    danlu.save(models.build(Spec.read(LLAMA), vocab=VOCAB), None, folder / "model")


def side(folder: Path, name: str) -> dict[str, float]:
    """Switching takes milliseconds; peak memory is that of a process that does nothing else; speed is paired in one."""
    who, _, what = name.partition("-")
    if who == "both":
        steps = {"danlu": _danlu(folder, what), "peft": _peft(folder, what)}
        return _paired(steps)
    held = _resident()
    begun = {"danlu": _danlu, "peft": _peft}[who](folder, what)
    return _switched(begun) if what == "switch" else _peak(begun, held)


def _danlu(folder: Path, what: str) -> Any:
    """A step, or the switch to an adapter."""
    import torch

    from danlu import models
    from danlu.core.batch import Batch
    from danlu.core.spec import Spec
    from danlu.objectives.next_token import NextToken
    from danlu.peft.attached import activate, attach
    from danlu.train.optims.adamw import AdamW
    from danlu.train.trainer import Trainer

    model, _ = models.load(folder / "model")
    lora = Spec("lora", {"rank": RANK, "alpha": 2 * RANK, "at": OURS.get(what, OURS["all"])})
    attach(model, lora, "first")
    model.recompute = "keep"
    if what == "switch":
        attach(model, lora, "second")
        return lambda name: activate(model, name)
    tokens = _tokens()
    at = torch.arange(LENGTH).expand(ROWS, LENGTH).contiguous()
    ones = torch.ones(ROWS, LENGTH)
    batch = Batch(tokens, tokens.roll(-1, 1), ones, ones.long(), at)
    trainer = Trainer(model, NextToken(), _Same(), AdamW(lr=1e-4))
    model.train()
    return lambda: trainer.update([batch])


class _Same:
    """No stream: the step is given its batch."""

    def __iter__(self) -> Any:
        return iter(())

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        return


def _peft(folder: Path, what: str) -> Any:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=THEIRS.get(what, THEIRS["all"]))
    model: Any = get_peft_model(AutoModelForCausalLM.from_pretrained(folder / "model"), config, adapter_name="first")
    if what == "switch":
        model.add_adapter("second", config)
        return model.set_adapter
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.1, fused=True)
    tokens = _tokens()
    model.train()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        model(input_ids=tokens, labels=tokens, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()

    return step


def _tokens() -> Any:
    import torch

    return torch.randint(0, VOCAB, (ROWS, LENGTH), generator=torch.Generator().manual_seed(0))


def _paired(steps: dict[str, Any]) -> dict[str, float]:
    """Turn by turn; CPU seconds of the one thread do not grow when others use the machine. The first turn warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(STEPS):
        for name, step in steps.items():
            begin = time.process_time()
            step()
            seconds[name].append(time.process_time() - begin)
    return {name: ROWS * LENGTH / statistics.median(taken[1:]) for name, taken in seconds.items()}


def _peak(step: Any, held: float) -> dict[str, float]:
    for _ in range(2):
        step()
    return {"mib": _resident(peak=True) - held}


def _switched(switch: Any) -> dict[str, float]:
    seconds = []
    for _ in range(20):
        for name in ("first", "second"):
            begin = time.perf_counter()
            switch(name)
            seconds.append(time.perf_counter() - begin)
    return {"ms": 1e3 * statistics.median(seconds)}


def _resident(*, peak: bool = False) -> float:
    """MiB of this process now, or at its highest."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:" if peak else "VmRSS:")[1].split()[0]) / 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["prepare"]:
        prepare(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["side"]:
        import torch

        torch.set_num_threads(1)
        print(json.dumps(side(Path(sys.argv[2]), sys.argv[3])))
    else:
        print(text([{"benchmark": "lora", **line} for line in rows()]))
