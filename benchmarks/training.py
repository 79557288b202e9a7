"""Training speed and peak memory: danlu.train against transformers' Trainer and TRL's SFTTrainer.

One LLaMA of 25 M parameters (hidden 512, 8 layers, vocabulary 6,400), the same weights, the same rows, AdamW, one
thread a side. Real tokens count, padding does not. Every side runs in a process of its own: A B A B, medians.

python benchmarks/training.py                          the table
python benchmarks/training.py side FOLDER NAME         one side, which prints its JSON (used by the table)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from table import medians, row, skipped, text  # noqa: E402

LENGTH, ROWS, STEPS, ROUNDS = (
    512,
    4,
    3,
    2,
)  # a step is 4 × 512 tokens; the first step of STEPS warms up and is not timed
CHAT_ROWS, CHAT_LENGTH, CHAT_BATCH, CHAT_STEPS = 96, 1024, 8, 4
LLAMA = {
    "use": "llama",
    "model": 512,
    "layers": 8,
    "heads": 8,
    "kv_heads": 2,
    "ffn": 1408,
    "context": 1024,
    "tied": True,
}
VOCAB = 6400


def rows() -> list[dict[str, Any]]:
    missing = [name for name in ("transformers", "accelerate", "trl", "datasets") if find_spec(name) is None]
    if missing:
        return [skipped("training", f"{missing[0]} is not installed: pip install 'danlu[bench]'", against=missing[0])]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _run("prepare", folder)
        return _pretraining(folder) + _sft(folder)


def _pretraining(folder: Path) -> list[dict[str, Any]]:
    lines = []
    for precision in ("fp32", "bf16"):
        if precision == "bf16" and (slow := _bf16_slowdown()) > 2:
            why = f"bf16 matrix products run {slow:.0f} × slower than fp32 on this processor (no AVX-512 bf16, no AMX)"
            lines.append(skipped("pretraining bf16", why, against="transformers Trainer", aim="≥ 1.05"))
            continue
        ours, peer = _abab(folder, f"danlu-{precision}", f"trainer-{precision}")
        what = f"pretraining {precision}"
        lines += _lines(what, ours, peer, "transformers Trainer", 1.05)
    return lines


def _sft(folder: Path) -> list[dict[str, Any]]:
    ours, padded, packed = _abab(folder, "danlu-sft", "trl-padded", "trl-packed")
    return _lines("SFT", ours, padded, "TRL padded", 1.8) + _lines("SFT", ours, packed, "TRL packed", 1.8)


def _lines(
    what: str, ours: list[dict[str, float]], peer: list[dict[str, float]], name: str, aim: float
) -> list[dict[str, Any]]:
    (a, b), (m, n) = (medians(*[[run[key] for run in side] for side in (ours, peer)]) for key in ("rate", "mib"))
    speed, memory = f"{what}, speed", f"{what}, peak memory"
    return [
        row(speed, a, b, unit="real tokens/CPU s", against=name, aim=aim, why=WHY.get(speed, "")),
        row(memory, m, n, unit="MiB above imports", against=name, aim=0.7, lower=True, why=WHY.get(memory, "")),
    ]


WHY = {
    "pretraining fp32, speed": (
        "torch's profiler: 73 % of our step is matrix products and 19 % fused attention, and both sides call the same "
        "ones; norms, rotation, activation, loss and AdamW share the last 8 %"
    ),
    "SFT, speed": (
        "TRL packs here too, so neither side pads, and 92 % of our step are products and fused attention; what is "
        "gained comes from attention within documents only and from chunked logits"
    ),
    "pretraining fp32, peak memory": (
        "danlu plan counts 666 MiB of tensors at the peak, 394 of them weights, gradients and AdamW's states, which "
        "both sides hold; the C library's heap adds about 190 MiB of holes. MALLOC_MMAP_THRESHOLD_=4000000 ends them "
        "(0.62 ×), and 15 to 25 % of the speed with them, lost to page faults; so danlu leaves the C library alone"
    ),
}


def _abab(folder: Path, *sides: str) -> list[list[dict[str, float]]]:
    found: list[list[dict[str, float]]] = [[] for _ in sides]
    for _ in range(ROUNDS):
        for side, values in zip(sides, found, strict=True):
            values.append(json.loads(_run("side", folder, side).splitlines()[-1]))
    return found


def _run(*arguments: object) -> str:
    quiet = {
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, __file__, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **quiet}, check=False)
    if done.returncode:
        raise RuntimeError(f"{arguments}: {done.stderr.strip()[-800:]}")
    return done.stdout


def _bf16_slowdown() -> float:
    from danlu.plan.devices import this_machine

    return this_machine("fp32").rate("fp32") / this_machine("bf16").rate("bf16")


# What both sides read ---------------------------------------------------------------------------------------------


def prepare(folder: Path) -> None:
    """Writes text.txt, chat.jsonl, tokenizer/ and model/ (a Hugging Face directory that both sides open)."""
    import danlu
    from danlu import models, tokenize
    from danlu.core.rng import Rng
    from danlu.core.spec import Spec

    rng = Rng(7)
    syllables = [c + v for c in "bdfghklmnprstvw" for v in "aeiou"]
    words = ["".join(rng.choice(syllables) for _ in range(1 + rng.below(4))) for _ in range(9000)]
    zipf = lambda: words[int(len(words) ** rng.unit()) - 1]  # noqa: E731
    paragraphs = [" ".join(zipf() for _ in range(300)) for _ in range(400)]
    (folder / "text.txt").write_text("\n\n".join(paragraphs))
    with open(folder / "chat.jsonl", "w") as out:
        for _ in range(CHAT_ROWS):
            asked, answered = (" ".join(zipf() for _ in range(n)) for n in (8 + rng.below(30), _answer_words(rng)))
            turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
            out.write(json.dumps({"messages": turns}) + "\n")
    tokenizer = tokenize.train([folder / "text.txt"], kind="byte_bpe", vocab=VOCAB)
    model = models.build(Spec.read(LLAMA), vocab=tokenizer.vocab_size, seed=0)
    tokenizer.save(folder / "tokenizer")
    danlu.save(model, tokenizer, folder / "model")


def _answer_words(rng: Any) -> int:
    """Log-normal, median 90 words, clipped: answers of instruction sets are short with a long tail."""
    normal = sum(rng.unit() for _ in range(12)) - 6
    return min(500, max(5, round(90 * 2.718 ** (0.8 * normal))))


# The sides --------------------------------------------------------------------------------------------------------


def side(folder: Path, name: str) -> dict[str, float]:
    """Runs one side here; ``rate`` is real tokens a second after the first step, ``mib`` the peak above imports."""
    kind, _, way = name.partition("-")
    run = {"danlu": _danlu, "trainer": _trainer, "trl": _trl}[kind]
    return run(folder, way)


class Clock:
    """CPU seconds at the ends of steps, and real tokens of batches, which a loader may fetch ahead.

    CPU seconds of the process's one thread do not grow when others use the machine; the first step only warms up.
    """

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.tokens: list[int] = []

    def rate(self) -> float:
        return sum(self.tokens[1 : len(self.ends)]) / (self.ends[-1] - self.ends[0])


def _trainer(folder: Path, precision: str) -> dict[str, float]:
    from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments, default_data_collator

    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    ids = tokenizer((folder / "text.txt").read_text())["input_ids"]
    windows = [ids[i : i + LENGTH] for i in range(0, LENGTH * ROWS * STEPS, LENGTH)]
    data: Any = [{"input_ids": w, "labels": w, "attention_mask": [1] * LENGTH} for w in windows]
    clock = Clock()
    settings = {**_quiet(folder), "per_device_train_batch_size": ROWS, "max_steps": STEPS, "bf16": precision == "bf16"}

    def collate(batch: list[dict[str, Any]]) -> dict[str, Any]:
        clock.tokens.append(LENGTH * len(batch))
        return default_data_collator(batch)

    def build(callback: Any) -> Any:
        model = AutoModelForCausalLM.from_pretrained(folder / "model")
        arguments = TrainingArguments(**settings)
        return Trainer(model, arguments, train_dataset=data, data_collator=collate, callbacks=[callback])

    return _timed(clock, build)


def _quiet(folder: Path) -> dict[str, Any]:
    """No checkpoints, no logs, the same clipping as ours."""
    return {
        "output_dir": str(folder / "peer"),
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "max_grad_norm": 1.0,
        "gradient_checkpointing": False,
    }


def _trl(folder: Path, way: str) -> dict[str, float]:
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    data = load_dataset("json", data_files=str(folder / "chat.jsonl"), split="train", cache_dir=str(folder / "cache"))
    packed = way == "packed"
    clock = Clock()
    rows = 2 if packed else CHAT_BATCH
    own = {"per_device_train_batch_size": rows, "max_steps": CHAT_STEPS, "packing": packed, "max_length": CHAT_LENGTH}

    def build(callback: Any) -> Any:
        model = AutoModelForCausalLM.from_pretrained(folder / "model")
        arguments = SFTConfig(**_quiet(folder), **own, bf16=False)
        trainer = SFTTrainer(model, arguments, train_dataset=data, processing_class=tokenizer, callbacks=[callback])
        inner = trainer.data_collator

        def collate(batch: list[dict[str, Any]]) -> Any:
            clock.tokens.append(sum(len(example["input_ids"]) for example in batch))
            return inner(batch)

        trainer.data_collator = collate
        return trainer

    return _timed(clock, build)


def _timed(clock: Clock, build: Any) -> dict[str, float]:
    """Builds and trains a peer's trainer under ``measuring``."""
    from transformers import TrainerCallback

    from danlu.plan import measuring

    class Mark(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            clock.ends.append(time.process_time())

    with measuring() as peak:
        trainer = build(Mark())
        trainer.train()
    return {"rate": clock.rate(), "mib": peak.bytes_ / 2**20}


def _danlu(folder: Path, way: str) -> dict[str, float]:
    from clock import Mark

    import danlu
    from danlu import data
    from danlu.core import config
    from danlu.plan import measuring
    from danlu.train.recipe import Recipe
    from danlu.train.run import train

    chat = {"parts": [{"from": str(folder / "chat.jsonl")}], "loss_on": "all", "pack": {"length": CHAT_LENGTH}}
    plain = {"parts": [{"from": str(folder / "text.txt")}], "pack": {"length": LENGTH, "rows": "windows"}}
    recipe = {
        "base": str(folder / "model"),
        "data": {**(chat if way == "sft" else plain), "cache": str(folder / "store")},
        "optim": {"use": "adamw", "lr": 5e-5},
        "train": {
            "steps": CHAT_STEPS if way == "sft" else STEPS,
            "tokens": LENGTH * ROWS,
            "micro": LENGTH * ROWS,
            "precision": "fp32" if way == "sft" else way,
            "chunk": 256,
        },
        "hooks": [{"use": "clock:Mark"}],
    }
    read = config.read(Recipe, recipe)
    data.build(read.data, danlu.load_tokenizer(folder / "model"), seed=read.seed, quiet=True)
    with measuring() as peak:
        train(read, out=folder / "run", resume=False, quiet=True)
    clock = Clock()
    clock.ends, clock.tokens = Mark.ends, Mark.tokens
    return {"rate": clock.rate(), "mib": peak.bytes_ / 2**20}


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["prepare"]:
        prepare(Path(arguments[1]))
    elif arguments[:1] == ["side"]:
        print(json.dumps(side(Path(arguments[1]), arguments[2])))
    else:
        print(text(rows()))


if __name__ == "__main__":
    main(sys.argv[1:])
