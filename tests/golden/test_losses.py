"""The first 20 losses of every recipe, as they were: a refactor must not move them.

python tests/golden/test_losses.py        writes losses.json anew, after a change that is meant to move them
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import pytest
from train_tiny import write_recipe

from danlu import tokenize
from danlu.train.run import train

RECIPES = Path(__file__).parents[2] / "recipes"
GOLDEN = Path(__file__).with_name("losses.json")
TOLERANCE = 2e-3  # other processors add in another order
SMALL = [
    "train.tokens=512",
    "train.micro=512",
    "train.threads=1",
    "train.device=cpu",
    "hooks=[log]",
    "data.held_out.share=0.0",
]
STEPS = ["train.steps=20", "train.epochs=null"]


def losses(name: str, folder: Path) -> list[float]:
    """20 steps of a recipe on generated text, 512 slots a step."""
    write_recipe(folder)
    given = {
        "pretrain-tiny": [f"tokenizer={folder / 'tokenizer'}", f"data.parts.0.from={folder / 'text.jsonl'}"],
        "sft-full": [f"base={folder / 'base'}", f"data.parts.0.from={folder / 'chat.jsonl'}"],
        "shakespeare-char": [f"tokenizer={folder / 'characters'}", f"data.parts.0.from={folder / 'text.jsonl'}"],
    }[name]
    prepared(folder)
    changes = [*SMALL, *STEPS, *given, f"data.cache={folder / 'data'}"]
    done = train(RECIPES / f"{name}.yaml", changes, out=folder / name, quiet=True)
    return [round(line["loss"], 5) for line in done.metrics]


def prepared(folder: Path) -> None:
    """A character tokenizer, a base model and conversations made of the generated text's own words."""
    from train_tiny import tiny_model

    import danlu

    tokenizer = tokenize.load_tokenizer(folder / "tokenizer")
    tokenize.train([folder / "text.jsonl"], "char", vocab=80, specials=("<|endoftext|>",)).save(folder / "characters")
    danlu.save(tiny_model(vocab=tokenizer.vocab_size, seed=4, context=512), tokenizer, folder / "base")
    texts = [json.loads(line)["text"].split() for line in (folder / "text.jsonl").read_text().splitlines()]
    turns = [[("user", " ".join(words[:3])), ("assistant", " ".join(words[3:]))] for words in texts]
    rows = [{"messages": [{"role": role, "content": content} for role, content in turn]} for turn in turns]
    (folder / "chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(json.loads(GOLDEN.read_text())))
def test_the_first_losses_are_as_they_were(name: str, tmp_path: Path) -> None:
    assert losses(name, tmp_path) == pytest.approx(json.loads(GOLDEN.read_text())[name], abs=TOLERANCE)


def test_every_training_recipe_has_golden_losses() -> None:
    recipes = {path.stem for path in RECIPES.glob("*.yaml") if "stages:" not in path.read_text()}
    assert recipes == set(json.loads(GOLDEN.read_text()))


if __name__ == "__main__":
    found = {}
    for recipe in ("pretrain-tiny", "sft-full", "shakespeare-char"):
        with tempfile.TemporaryDirectory() as scratch:
            found[recipe] = losses(recipe, Path(scratch))
    GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
