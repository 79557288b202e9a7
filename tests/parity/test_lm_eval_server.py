"""lm_eval --model local-completions against a server, and the same requests scored in this process: equal to 1e-4."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from adapted import base_in
from servers import Served, engine_of, serving

import danlu
from danlu.infer.scoring import log_likelihoods

lm_eval = pytest.importorskip("lm_eval", reason="the harness; pip install lm_eval[api]")
TASK = """
task: tiny
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
target_delimiter: " "
metric_list: [{{metric: acc}}]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base_in(tmp_path_factory.mktemp("lm_eval") / "base", context=256)


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    model, _ = danlu.load(folder)
    with serving(engine_of(folder.parent / "words", model=model)) as one:
        yield one


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_scores_are_those_in_process(
    served: Served, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    rows = [
        {"question": f"the {word}", "choices": ["the", "he the", word], "answer": 0}
        for word in ("cat", "你好", "hat", "a b")
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    (tmp_path / "tiny.yaml").write_text(TASK.format(file=tmp_path / "rows.jsonl"))
    arguments = f"model=tiny,base_url={served.url}/v1/completions,tokenizer={folder},tokenizer_backend=huggingface,num_concurrent=1,max_retries=1"
    told: Any = lm_eval.simple_evaluate(
        model="local-completions", model_args=arguments, tasks=["tiny"], batch_size=4, log_samples=True,
        task_manager=lm_eval.tasks.TaskManager(include_path=str(tmp_path), include_defaults=False),
    )  # fmt: skip
    model, tokenizer = danlu.load(folder)
    asked = [(sample["doc"], argument) for sample in told["samples"]["tiny"] for argument in sample["arguments"]]
    found = [float(one[0]) for sample in told["samples"]["tiny"] for (one,) in sample["resps"]]
    pairs = [(tokenizer.encode(context), tokenizer.encode(context + rest)) for _, (context, rest) in asked]
    mine = [score.total for score in log_likelihoods(model, [(a, b[len(a) :]) for a, b in pairs])]
    assert found == pytest.approx(mine, abs=1e-4)
    greedy = [one[1] for sample in told["samples"]["tiny"] for (one,) in sample["resps"]]
    assert [one in (True, "True") for one in greedy] == [
        score.greedy for score in log_likelihoods(model, [(a, b[len(a) :]) for a, b in pairs])
    ]
    assert served.idle()
