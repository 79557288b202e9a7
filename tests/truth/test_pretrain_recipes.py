"""recipes/pretrain at reduced size on the real text: every objective lowers its loss on rows that training never saw."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from danlu import tokenize
from danlu.train.run import train

FOLDER = Path(__file__).parents[2] / "recipes" / "pretrain"
RECIPES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
SPECIALS = ("<|endoftext|>", "[PAD]", "[CLS]", "[SEP]", "[MASK]", "<|startofpiece|>", "<|endofpiece|>")
SENTINELS = tuple(f"<extra_id_{number}>" for number in range(16))
SMALL = [
    "architecture.model=48", "architecture.layers=1", "data.pack.length=64", "data.held_out.share=0.04",
    "train.steps=30", "train.tokens=512", "train.micro=256", "train.threads=1", "optim.lr=0.01",
    "hooks=[log, {use: evaluate, every: 30}]",
]  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrain") / "tokenizer"
    text = shared / "lm" / "c4_demo.jsonl"
    tokenize.train([text], "byte_bpe", vocab=512, specials=SPECIALS + SENTINELS).save(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_the_held_out_loss_falls(name: str, shared: Path, tokenizer: Path, tmp_path: Path) -> None:
    changes = [
        *SMALL,
        f"tokenizer={tokenizer}",
        f"data.parts.0.from={shared / 'lm' / 'c4_demo.jsonl'}",
        f"data.cache={tokenizer.parent / 'data'}",
    ]
    done = train(FOLDER / f"{name}.yaml", changes, out=tmp_path / "out", quiet=True)
    held = done.report["held_out_loss"]
    assert held["after"] < held["before"] - 0.3, held
    assert ("bits_per_byte" in done.metrics[0]) == (name in ("next-token", "scheduled"))


def test_every_recipe_names_the_vocabulary_that_it_needs() -> None:
    """The command at the head of each makes the special tokens that this test trains with."""
    for name in RECIPES:
        text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
        for token in SPECIALS:
            assert f"'{token}'" in text
        assert "'<extra_id_'{0..15}'>'" in text
        assert yaml.safe_load(text)["tokenizer"] == "runs/pretrain/tokenizer"
