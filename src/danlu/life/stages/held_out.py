"""How well models foretell text they never saw, beside counting and compressing programs on the same split."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from ... import assembly
from ...core.errors import CheckpointError
from ...evaluate.perplexity import perplexity
from ...infer import Local
from ...tokenize import load_tokenizer
from ..folder import LifeFolder
from ..jsonl import read_rows
from ..kneser_ney import bits_per_byte, tokens_bits_per_byte
from ..report.page import paragraph, table
from . import STAGES, Figures, Stage

TRAINING_BYTES = 50_000_000  # that the counting models and compressors read at most
ORDER = 5


@STAGES.add("held_out")
class HeldOutStage(Stage):
    """Bits a byte of held-out text: of a trained model, of 5-gram Kneser-Ney models (bytes, tokens), of gzip and xz.

    A compressor's figure is what the held-out text adds: 8 · (|C(training + held out)| - |C(training)|) / bytes. The
    5-gram model of tokens uses the trained model's vocabulary. Every program reads the same training text.

    Source: modified Kneser-Ney as in life/kneser_ney.py; bits per byte: The Pile, arXiv:2101.00027, §3.1.
    Truth:  tests/life/test_life_stages.py (each figure again by hand on a small text).
    """

    title = ("Held-out text: bits per byte", "留出文本：每字节比特数")

    def __init__(
        self,
        *,
        model: str,
        training: str = "corpus/text.jsonl",
        held_out: str = "corpus/held_out.jsonl",
        stride: int | None = None,
        training_bytes: int = TRAINING_BYTES,
    ) -> None:
        self.model, self.training, self.held_out, self.stride = model, training, held_out, stride
        self.training_bytes = training_bytes

    def reads(self, life: LifeFolder) -> list[str]:
        return [self.model, self.training, self.held_out]

    def run(self, life: LifeFolder, folder: Path) -> Figures:
        held_out = [row["text"] for row in read_rows(life.place(self.held_out))]
        model, tokenizer = assembly.load(life.place(self.model) / "final")
        if tokenizer is None:
            raise CheckpointError(f"{self.model}/final: holds no tokenizer; train the stage again")
        local = Local(model, tokenizer)
        stride = self.stride or local.context // 2
        found = perplexity(local, held_out, stride=stride, quiet=life.quiet)
        read, cut = self._training(life)
        return {
            "model": found.write(),
            "others": _others(read, held_out, life.place(self.model) / "final"),
            "training_bytes": sum(len(text.encode()) for text in read),
            "training_cut": cut,
        }

    def _training(self, life: LifeFolder) -> tuple[list[str], bool]:
        """The training texts, and whether some were left out to bound the time."""
        read: list[str] = []
        size = 0
        for row in read_rows(life.place(self.training)):
            size += len(row["text"].encode())
            if size > self.training_bytes:
                return read, True
            read.append(row["text"])
        return read, False

    def line(self, figures: Figures) -> str:
        others = ", ".join(f"{name} {bits:.3f}" for name, bits in figures["others"].items())
        return f"{figures['model']['bits_per_byte']:.3f} bits a byte ({others})"

    def section(self, life: LifeFolder, folder: Path, figures: Figures) -> str:
        found = figures["model"]
        cut = " (the first part of the training text)" if figures["training_cut"] else ""
        rows: list[list[Any]] = [[f"this model ({self.model})", f"{found['bits_per_byte']:.3f}"]]
        rows += [[name, f"{bits:.3f}"] for name, bits in figures["others"].items()]
        said = paragraph(
            f"{found['bytes']:,} held-out bytes in {found['texts']:,} passages; stride {found['stride']} of a context "
            f"of {found['context']}. The others read {figures['training_bytes']:,} bytes{cut}.",
            "数值越低越好；所有程序读同样的训练文本。",
        )
        return said + table(
            ["program · 程序", "bits per byte · 每字节比特"], sorted(rows, key=lambda row: float(row[1]))
        )


def _others(training: list[str], held_out: list[str], folder: Path) -> dict[str, float]:
    known, asked = [t.encode() for t in training], [t.encode() for t in held_out]
    size = sum(map(len, asked))
    tokenizer = load_tokenizer(folder)
    ids = tokenizer.encode_batch(training), tokenizer.encode_batch(held_out)
    of_tokens = tokens_bits_per_byte(*ids, symbols=tokenizer.vocab_size, bytes_=size, order=ORDER)
    return {
        f"{ORDER}-gram Kneser-Ney, bytes": bits_per_byte(known, asked, order=ORDER),
        f"{ORDER}-gram Kneser-Ney, tokens": of_tokens,
        "gzip": compressed(gzip.compress, known, asked),
        "xz": compressed(lzma.compress, known, asked),
    }


def compressed(compress: Callable[[bytes], bytes], training: list[bytes], held_out: list[bytes]) -> float:
    """Bits a byte that the held-out texts add to the compressed training texts."""
    known, asked = b"".join(training), b"".join(held_out)
    return 8 * (len(compress(known + asked)) - len(compress(known))) / len(asked)


def some(path: Path, count: int) -> list[Any]:
    """Rows evenly spread over a file, ``count`` at most."""
    rows = list(read_rows(path))
    return list(islice(rows[:: max(1, len(rows) // count)], count))
