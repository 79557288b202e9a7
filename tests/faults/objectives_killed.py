"""A process that trains with objectives that draw samples, in children that it kills; prints what is left as JSON.

python objectives_killed.py FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from train_killed import child, ended, killed_at_operation, left, run
from train_tiny import tiny_model, write_recipe

from danlu import tokenize
from danlu.train.optims.adamw import AdamW

SPECIALS = ("<|endoftext|>", "[PAD]", "[CLS]", "[SEP]", "[MASK]")
BERT = {"use": "bert", "model": 16, "layers": 1, "heads": 2, "context": 32, "dropout": 0.1}
LLAMA = {"use": "llama", "model": 16, "layers": 1, "heads": 2, "context": 32}
CASES = {
    "masked": {"objective": "masked", "architecture": BERT},
    "next_sentence": {"objective": "next_sentence", "architecture": BERT},
    "scheduled_sampling": {"objective": {"use": "scheduled_sampling", "k": 6, "least": 0.2}, "architecture": LLAMA},
}
SECOND_SAVE = 14  # an operation of the second checkpoint, which is then not there


def main(folder: Path) -> None:
    tokenizer = tokenize.train(
        iter(["the quick brown fox jumps over the lazy dog"]), "char", vocab=40, specials=SPECIALS
    )
    tokenizer.save(folder / "characters")
    AdamW().over(tiny_model().named_parameters())  # imports late, before forking
    found = {}
    for name, changes in CASES.items():
        recipe = write_recipe(
            folder / name,
            tokenizer=str(folder / "characters"),
            train={"steps": 8, "tokens": 128, "micro": 64, "threads": 1},
            hooks=[{"use": "save", "every": 2, "keep": 2}, {"use": "evaluate", "every": 3}, "log"],
            **changes,
        )
        whole, killed = folder / name / "whole", folder / name / "killed"
        assert ended(child(lambda recipe=recipe, out=whole: run(recipe, out))) == 0
        code = ended(child(lambda recipe=recipe, out=killed: killed_at_operation(SECOND_SAVE, recipe, out)))
        steps = [path.name for path in sorted((killed / "checkpoints").glob("step-*"))]
        assert ended(child(lambda recipe=recipe, out=killed: run(recipe, out))) == 0
        found[name] = {"code": code, "steps": steps, "whole": left(whole), "killed": left(killed)}
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
