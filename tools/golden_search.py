"""Writes tests/golden/searches.json: what transformers 4.49 finds by the searches that transformers 5 no longer has.

    python -m pip install --no-deps --target /tmp/transformers449 \
        transformers==4.49.0 tokenizers==0.21.4 huggingface_hub==0.29.3
    PYTHONPATH=/tmp/transformers449 python tools/golden_search.py

Any environment with torch, numpy, regex, requests, packaging, filelock, pyyaml, tqdm and safetensors does. The models
are formulas (tests/golden_llama.py), so the vectors hold settings, prompts, tokens and scores only.
"""

from __future__ import annotations

import json
import sys
from itertools import product
from pathlib import Path

import torch
import transformers

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
import golden_llama  # noqa: E402

LIMIT, ANSWERS = 12, 2
PROMPTS = [[2, 17], [2, 5, 5, 21, 33, 8, 12]]
BEAMS = {
    "diverse": [
        {"width": width, "groups": groups, "diversity": diversity, "length_penalty": penalty, "early_stopping": early}
        for (width, groups), diversity, (penalty, early) in product(
            [(4, 2), (6, 3), (4, 4)],
            [0.3, 2.0],
            [(-1.0, True), (0.6, False), (2.0, "never")],
        )
    ],
    "forced": [
        {"width": width, "words": words, "length_penalty": penalty, "early_stopping": early}
        for width, words, (penalty, early) in product(
            [3, 5],
            [[[23]], [[23, 14, 11]], [[23, 14], [37]], [[[23, 14, 6], [19]], [36, 3]]],
            [(1.0, True), (0.5, False), (2.0, "never")],
        )
    ],
}
DEEP = [0, 3, 5]
SINGLE = {
    "contrastive": [{"width": width, "alpha": alpha} for width, alpha in product([2, 4, 8], [0.2, 0.6, 0.9])],
    "dola": [{"layers": layers} for layers in ("low", "high", [1], DEEP)],
}
NAMES = {
    "width": "num_beams", "groups": "num_beam_groups", "diversity": "diversity_penalty", "words": "force_words_ids",
    "length_penalty": "length_penalty", "early_stopping": "early_stopping", "alpha": "penalty_alpha",
    "layers": "dola_layers",
}  # fmt: skip


def model(layers: int, tied: bool, seed: int) -> transformers.LlamaForCausalLM:
    config = transformers.LlamaConfig(**golden_llama.config(layers=layers, tied=tied), attn_implementation="eager")
    built = transformers.LlamaForCausalLM(config).eval()
    missing = built.load_state_dict(golden_llama.weights(layers=layers, tied=tied, seed=seed), strict=False)
    assert not missing.unexpected_keys, missing
    assert set(missing.missing_keys) <= {"lm_head.weight"}, missing
    return built


def settings(name: str, ours: dict) -> dict:
    """What transformers calls them."""
    theirs = {NAMES[key]: value for key, value in ours.items()}
    if name == "contrastive":
        theirs["top_k"] = theirs.pop("num_beams")
    if name == "forced":  # words of one form and of several cannot stand in one list there
        several = any(isinstance(word[0], list) for word in ours["words"])
        words = [word if isinstance(word[0], list) else [word] for word in ours["words"]] if several else ours["words"]
        theirs["force_words_ids"] = words
    if name == "dola":
        theirs["repetition_penalty"] = 1.2
    return theirs


def cases() -> list[dict]:
    """Each with the answers, best first."""
    found = []
    for seed, (layers, tied) in enumerate([(2, False), (6, True), (6, False)]):
        theirs = model(layers, tied, seed)
        for name, all_ours in (BEAMS | SINGLE).items():
            for ours, prompt in product(all_ours, PROMPTS):
                if name == "dola" and ours["layers"] == DEEP and layers < 6:
                    continue
                found.append({"model": [layers, tied, seed], "use": name, "settings": ours, "prompt": prompt})
                found[-1]["answers"] = answers(theirs, name, ours, prompt)
    return found


def answers(theirs: transformers.LlamaForCausalLM, name: str, ours: dict, prompt: list[int]) -> list[dict]:
    """At most ANSWERS different ones. Of forced words one: asked for more, transformers adds texts without them."""
    several = ours["width"] if name == "diverse" else 1
    tokens = torch.tensor([prompt])
    torch.manual_seed(0)
    out = theirs.generate(
        tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=LIMIT, do_sample=False,
        num_return_sequences=several, suppress_tokens=[golden_llama.PAD] if name in BEAMS else None,
        return_dict_in_generate=True,
        output_scores=True, **settings(name, ours),
    )  # fmt: skip
    rows = [tuple(_ended(row[len(prompt) :].tolist())) for row in out.sequences]
    scores = out.sequences_scores.tolist() if name in BEAMS else [0.0] * len(rows)
    best: dict[tuple[int, ...], float] = {}
    for row, score in zip(rows, scores, strict=True):
        best.setdefault(row, round(score, 4))
    return [{"tokens": row, "score": score} for row, score in best.items()][:ANSWERS]


def _ended(tokens: list[int]) -> list[int]:
    """Without what fills up behind the end."""
    return tokens[: tokens.index(golden_llama.END) + 1] if golden_llama.END in tokens else tokens


def main() -> None:
    assert transformers.__version__ == "4.49.0", f"needs transformers 4.49.0, found {transformers.__version__}"
    found = cases()
    rows = ",\n".join(json.dumps(case) for case in found)
    (ROOT / "tests/golden/searches.json").write_text(f'{{"limit": {LIMIT}, "cases": [\n{rows}\n]}}\n')
    print(f"{len(found)} cases")


if __name__ == "__main__":
    main()
