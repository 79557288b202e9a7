"""Perplexity equal to the textbook computation with transformers: same windows, same model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from talkers import small_model, small_tokenizer

import danlu.models
from danlu.evaluate import perplexity
from danlu.infer import Local

TEXT = "the end of the beginning, 你好 the naïve world; " * 4


@pytest.mark.parametrize("use", ["llama", "gpt2"])
@pytest.mark.parametrize("stride", [31, 16, 5])
def test_sliding_windows_equal_transformers(use: str, stride: int, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    tokenizer = small_tokenizer(tmp_path / "tokenizer")
    model = small_model(use, context=32)
    danlu.models.save(model, None, tmp_path / "model")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32).eval()
    ids = torch.tensor([tokenizer.encode(TEXT)])
    nats, count, before = 0.0, 0, 0
    for begin in range(0, ids.shape[1], stride):
        end = min(begin + 32, ids.shape[1])
        labels = ids[:, begin:end].clone()
        labels[:, : before - begin] = -100  # scored by the window before
        with torch.inference_mode():
            loss = theirs(ids[:, begin:end], labels=labels).loss.item()
        scored = int((labels[:, 1:] != -100).sum())
        nats, count, before = nats + loss * scored, count + scored, end
        if end == ids.shape[1]:
            break
    ours = perplexity(Local(model, tokenizer), [TEXT], stride=stride)
    assert ours.tokens == count == ids.shape[1] - 1
    assert ours.nats == pytest.approx(nats, rel=1e-5)
    assert ours.bytes_ == len(TEXT.encode()) - len("t")
    assert ours.stride == stride


@pytest.mark.parametrize("use", ["llama", "gpt2"])
@pytest.mark.parametrize(
    "limits", [{}, {"SLOTS": 64, "LOGITS": 800, "SHARED": 4, "KEYS": 60_000}], ids=["one pass", "many"]
)
def test_log_likelihoods_equal_transformers_row_by_row(
    use: str, limits: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shared contexts and beginnings, many lengths, one and many tokens: in any order, each as if alone."""
    from transformers import AutoModelForCausalLM

    from danlu.infer import scoring

    model = small_model(use, context=40)
    danlu.models.save(model, None, tmp_path / "model")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32).eval()
    draw = torch.Generator().manual_seed(0)
    ids = lambda n: torch.randint(0, 267, (n,), generator=draw).tolist()  # noqa: E731
    shots, other = ids(20), ids(12)
    rows = [(shots, ids(n)) for n in (1, 1, 1, 1, 4, 20)]
    rows += [([*shots[:16], *ids(n)], ids(m)) for n, m in ((3, 1), (9, 2), (1, 1), (4, 8))]
    rows += [([*other, *ids(n)], [n]) for n in (2, 5, 20)]
    rows += [(shots[:5], shots[5:9])] + [(ids(n), ids(m)) for n in range(1, 20, 3) for m in (1, 7)]
    for name, value in limits.items():
        monkeypatch.setattr(scoring, name, value)
    for score, (context, continuation) in zip(scoring.log_likelihoods(model, rows), rows, strict=True):
        with torch.inference_mode():
            law = theirs(torch.tensor([[*context, *continuation]])).logits[0, len(context) - 1 : -1].log_softmax(-1)
        expected = law.gather(-1, torch.tensor(continuation)[:, None])[:, 0].tolist()
        assert list(score.logprobs) == pytest.approx(expected, abs=2e-4)
        assert score.greedy == (law.argmax(-1).tolist() == continuation)


def test_what_rows_share_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two subjects of 30 questions × 4 letters, 200 tokens of shots, 20 to 29 of question: 2 · 200 + what is new."""
    from danlu.infer import log_likelihoods
    from danlu.models import Stack

    model, fed = small_model(context=256), []
    hidden = Stack.hidden
    monkeypatch.setattr(Stack, "hidden", lambda self, t, l=None: fed.append(t.numel()) or hidden(self, t, l))  # noqa: E741
    shots = [torch.randint(3, 267, (200,), generator=torch.Generator().manual_seed(s)).tolist() for s in (1, 2)]
    rows = [([*shots[i % 2], i, *[7] * (19 + i % 10)], [x]) for i in range(60) for x in (10, 11, 12, 13)]
    log_likelihoods(model, rows)
    assert sum(fed) <= 2 * 200 + 60 * 30
    assert sum(fed) >= 2 * 200 + 60 * 20


def test_what_greedy_would_have_said_is_marked_so() -> None:
    from danlu.infer import log_likelihoods

    model = small_model()
    said = [5, 9, 30]
    for _ in range(6):
        said.append(int(model(torch.tensor([said]))[0, -1].argmax()))
    other = [*said[3:-1], (said[-1] + 1) % 267]
    assert [score.greedy for score in log_likelihoods(model, [(said[:3], said[3:]), (said[:3], other)])] == [
        True,
        False,
    ]


@pytest.mark.parametrize("by", ["letter", "text"])
def test_choices_equal_a_direct_computation_with_transformers(by: str, shared: Path, tmp_path: Path) -> None:
    """Real questions of MMLU through the model, the port and the prompts: the same answers, question by question."""
    from transformers import AutoModelForCausalLM

    from danlu.evaluate import TASKS, choose
    from danlu.evaluate.questions import read_questions

    tokenizer, model = small_tokenizer(tmp_path / "tokenizer"), small_model(context=1024)
    danlu.models.save(model, None, tmp_path / "model")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32).eval()
    questions = read_questions(shared / "choice/mmlu/test/global_facts_test.csv")[:6]
    head = "The following are multiple choice questions (with answers) about global facts.\n\n"
    expected = ""
    for question in questions:
        options = "".join(f"\n{letter}. {text}" for letter, text in zip("ABCD", question.choices, strict=True))
        prompt = f"{head}{question.text.strip()}{options}\nAnswer:"
        totals = []
        for letter, choice in zip("ABCD", question.choices, strict=True):
            given = tokenizer.encode(prompt)
            ids = torch.tensor([tokenizer.encode(f"{prompt} {letter if by == 'letter' else choice}")])
            with torch.inference_mode():
                law = theirs(ids).logits[0, len(given) - 1 : -1].log_softmax(-1)
            totals.append(law.gather(-1, ids[0, len(given) :, None]).sum().item())
        expected += "ABCD"[totals.index(max(totals))]
    report = choose(Local(model, tokenizer), TASKS["mmlu"], questions, form="lm-eval", by=by)
    assert "".join(report.subjects["global_facts"].answers) == expected
    assert report.acc == sum("ABCD"[q.answer] == e for q, e in zip(questions, expected, strict=True)) / 6
