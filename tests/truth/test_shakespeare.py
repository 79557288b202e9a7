"""nanoGPT's character-level Shakespeare, cut to its first steps: as good as its own code is after as many.

The whole run (2,000 steps, four minutes of one core) is docs/training.md's last block. A plain transcription of nanoGPT's
model and loop, no code of danlu in it, reached 2.389 with this shortened schedule; the bound leaves room for rounding.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from danlu import tokenize
from danlu.train.run import train

RECIPE = Path(__file__).parents[2] / "recipes" / "shakespeare-char.yaml"
STEPS = ["train.steps=300", "schedule.warmup=50", "train.threads=1", "hooks=[log, {use: evaluate, every: 1000}]"]


@pytest.mark.slow
def test_the_first_300_steps(shared: Path, tmp_path: Path) -> None:
    text = shared / "lm" / "tinyshakespeare.txt"
    tokenizer = tokenize.train([text], "char", vocab=80, specials=("<|endoftext|>",))
    tokenizer.save(tmp_path / "characters")
    assert tokenizer.vocab_size == 67  # 65 characters, as nanoGPT counts, the end of text and <unk>
    changes = [
        *STEPS,
        f"tokenizer={tmp_path / 'characters'}",
        f"data.parts.0.from={text}",
        f"data.cache={tmp_path / 'data'}",
    ]
    done = train(RECIPE, changes, out=tmp_path / "out", quiet=True)
    assert done.report["held_out_loss"]["before"] == pytest.approx(4.2, abs=0.1)  # ln 67
    assert done.report["held_out_loss"]["after"] < 2.389 + 0.02
