"""Training vocabularies against sentencepiece and tokenizers, and encoding with what the engines gain: MB a CPU-second.

All in one process, turn by turn (A B A B), processor time of all threads: what else the machine does does not count.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from table import medians, paired, row, skipped, text

HERE = Path(__file__).parent
VOCAB, ROUNDS = 8000, 2
TRAIN_BYTES, UNIGRAM_BYTES, ENCODE_BYTES = 5_000_000, 600_000, 2_000_000
AIM_BPE, AIM_UNIGRAM, AIM_ENCODE = 0.7, 2.0, 4.0


def rows() -> list[dict[str, Any]]:
    """Lines of the table: training twice, encoding twice."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    lines = list(_lines())
    return _part(lines, TRAIN_BYTES, _bpe) + _part(lines, UNIGRAM_BYTES, _unigram)


def _bpe(lines: list[str], size: int) -> list[dict[str, Any]]:
    from danlu.tokenize import train

    mb = size / 1e6
    trained: list[Any] = []
    ours, peer = paired(
        _seconds(lambda: trained.append(train(iter(lines), "byte_bpe", vocab=VOCAB))),
        _seconds(lambda: _sentencepiece(lines, "bpe")),
        ROUNDS,
    )
    a, b = medians(ours, peer)
    why = "merging in the tokenizers library costs more a merge than in sentencepiece, which cannot merge bytes"
    first = row(f"training BPE, {mb:.1f} MB, {VOCAB:,} pieces", mb / a, mb / b, unit="MB/CPU-s",
                against="sentencepiece", aim=AIM_BPE, why=why)  # fmt: skip
    return [first, _encoding("byte-level BPE", trained[0], lines)]


def _unigram(lines: list[str], size: int) -> list[dict[str, Any]]:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    from danlu.tokenize import train

    mb = size / 1e6
    trained: list[Any] = []

    def peer() -> None:
        engine = Tokenizer(models.Unigram())
        engine.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=VOCAB, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False
        )
        engine.train_from_iterator(lines, trainer)

    def ours() -> None:
        trained.append(train(iter(lines), "unigram", vocab=VOCAB))

    a, b = medians(*paired(_seconds(ours), _seconds(peer), 1))
    why = "sentencepiece's fixed cost weighs on so little text"
    first = row(f"training unigram, {mb:.1f} MB, {VOCAB:,} pieces", mb / a, mb / b, unit="MB/CPU-s",
                against="tokenizers", aim=AIM_UNIGRAM, why=why)  # fmt: skip
    return [first, _encoding("unigram", trained[0], lines)]


def _encoding(what: str, tokenizer: Any, lines: list[str]) -> dict[str, Any]:
    """Our encode_batch against the tokenizers library's on the same vocabulary."""
    what = f"encoding, {what}"
    given = _cut(lines, ENCODE_BYTES)
    mb = sum(len(line.encode()) for line in given) / 1e6
    backend = tokenizer.backend
    if type(tokenizer.engine).__name__ == "Reference":
        return skipped(what, "the fast engine is not installed: pip install 'danlu[tiktoken,sentencepiece]'")
    ours, peer = paired(
        _seconds(lambda: tokenizer.encode_batch(given)),
        _seconds(lambda: backend.encode_batch_fast(given, add_special_tokens=False)),
        ROUNDS + 1,
    )
    a, b = medians(ours, peer)
    why = "on short texts the calls from Python weigh as much as the engine"
    return row(what, mb / a, mb / b, unit="MB/CPU-s", against="tokenizers", aim=AIM_ENCODE, why=why)


def _part(
    lines: list[str], size: int, measure: Callable[[list[str], int], list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    given = _cut(lines, size)
    try:
        return measure(given, sum(len(line.encode()) for line in given))
    except ImportError as error:
        return [
            skipped(f"tokenizer, {measure.__name__[1:]}", f"{error.name} is not installed", against="sentencepiece")
        ]


def _sentencepiece(lines: list[str], kind: str) -> None:
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=io.BytesIO(), model_type=kind, vocab_size=VOCAB, byte_fallback=True,
        split_digits=True, normalization_rule_name="identity", max_sentence_length=1 << 16, minloglevel=2,
    )  # fmt: skip


def _seconds(work: Callable[[], object]) -> Callable[[], float]:
    def measured() -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    return measured


def _lines() -> Iterator[str]:
    """Real English and Chinese text where the project keeps it, else this repository's own."""
    shared = Path(os.environ.get("DANLU_SHARED", HERE.parent.parent / "shared")) / "data" / "lm"
    real = [*shared.glob("*.txt"), *shared.glob("*.jsonl"), *shared.rglob("zh/*")]
    files = real or [*HERE.parent.rglob("*.md"), *HERE.parent.rglob("*.py")]
    for file in sorted(file for file in files if file.is_file()):
        for line in file.read_text(encoding="utf-8", errors="replace").split("\n"):
            if line.strip():
                yield from (line[at : at + 2000] + "\n" for at in range(0, len(line), 2000))


def _cut(lines: list[str], size: int) -> list[str]:
    """Lines at equal distances, so that all files have their part."""
    step = max(1, sum(len(line.encode()) for line in lines) // size)
    return lines[::step]


def main() -> None:
    print(text(rows()))


if __name__ == "__main__":
    main()
