"""The verbs generate, chat and eval from the outside: what they print, how they end."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from talkers import small_model, small_tokenizer

import danlu.models
from danlu.cli import main
from danlu.core.errors import DanluError
from danlu.infer import Local, generate
from danlu.infer.conversation import Conversation


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verbs")
    tokenizer = small_tokenizer(folder / "tokenizer")
    danlu.models.save(small_model(), tokenizer, folder / "model")
    return folder / "model"


def test_generate_prints_what_the_library_says(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    model, tokenizer = danlu.models.load(folder)
    prompts = ["the cat", "你好", "he said"]
    (tmp_path / "prompts.txt").write_text("你好\n\nhe said\n", encoding="utf-8")
    sampling = ["--max-tokens", "9", "--temperature", "0.9", "--top-k", "20", "--top-p", "0.9", "--seed", "4"]
    expected = generate(model, tokenizer, prompts, max_tokens=9, temperature=0.9, top_k=20, top_p=0.9, seed=4)
    words = ["generate", str(folder), "the cat", "--file", str(tmp_path / "prompts.txt"), *sampling]
    assert main([*words, "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["prompt"] for line in lines] == prompts
    assert [tuple(line["tokens"]) for line in lines] == [one.tokens for one in expected]
    assert [line["text"] for line in lines] == [one.text for one in expected]
    assert set(lines[0]) == {"prompt", "text", "tokens", "logprobs", "finish_reason"}
    assert main(words) == 0
    shown = "".join(f"> {prompt}\n{one.text}\n" for prompt, one in zip(prompts, expected, strict=True))
    assert capsys.readouterr().out == shown


def test_generate_streams_one_prompt_to_a_terminal(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["generate", str(folder), "the cat", "--max-tokens", "12", "--stop", "~~", "--stop", "never"]
    assert main(words) == 0
    plain = capsys.readouterr().out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(words) == 0
    assert capsys.readouterr().out == plain


def _chat(folder: Path, monkeypatch: pytest.MonkeyPatch, lines: str, *more: str) -> int:
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    return main(["chat", str(folder), "--max-tokens", "6", *more])


def test_chat_remembers_resets_and_quits(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    local = Local(*danlu.models.load(folder))
    system = {"role": "system", "content": "hm"}
    hi = {"role": "user", "content": "hi"}
    first = local.chat([[system, hi]], max_tokens=6)[0].text
    then = [system, hi, {"role": "assistant", "content": first}, {"role": "user", "content": "ok"}]
    second = local.chat([then], max_tokens=6)[0].text
    assert _chat(folder, monkeypatch, "hi\n\nok\n/reset\nhi\n/what\n/quit\nhi\n", "--system", "hm") == 0
    out = capsys.readouterr().out
    assert out == f"{first}\n{second}\n{first}\nthere are /reset, /adapter NAME and /quit\n"
    assert "".join(local.stream(then, max_tokens=6)) == second


def test_chat_forgets_the_oldest_turns_when_the_context_is_full(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _chat(folder, monkeypatch, "aaaa\n" * 6) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) >= 6
    assert "oldest turns forgotten so far: 1" in captured.err
    assert _chat(folder, monkeypatch, "a" * 100 + "\n") == 2
    assert "the model's context is 96" in capsys.readouterr().err


def test_a_message_too_long_leaves_the_conversation_as_it_was(folder: Path) -> None:
    conversation = Conversation(Local(*danlu.models.load(folder), frozen=True), settings={"max_tokens": 4})
    first = "".join(conversation.say("hi"))
    before = conversation.messages
    assert [message["content"] for message in before] == ["hi", first]
    with pytest.raises(DanluError, match="context is 96"):
        conversation.say("a" * 100)
    assert (conversation.messages, conversation.dropped) == (before, 0)
    list(conversation.say("a" * 60))
    assert (len(conversation.messages), conversation.dropped) == (2, 1)


def test_chat_works_through_a_pipe_and_ends_at_its_end(folder: Path) -> None:
    command = [sys.executable, "-m", "danlu", "chat", str(folder), "--max-tokens", "4"]
    done = subprocess.run(command, input=b"\xe4\xbd\xa0\n", capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    local = Local(*danlu.models.load(folder))
    expected = local.chat([[{"role": "user", "content": "你"}]], max_tokens=4)[0].text
    assert done.stdout.decode() == f"{expected}\n"


def test_eval_prints_a_table_and_writes_json(folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the end 你好 " * 20, encoding="utf-8")
    (tmp_path / "b.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    (tmp_path / "law_test.csv").write_text("question,A,B,answer\nis it?,yes,no,A\nor?,no,yes,1\n")
    (tmp_path / "law_dev.csv").write_text("question,A,B,answer\nwas it?,yes,no,B\n")
    paths = {file.name: str(file) for file in tmp_path.iterdir()}
    words = ["eval", str(folder), "--text", paths["a.txt"], paths["b.jsonl"], "--stride", "40", "--choice", "mmlu",
             paths["law_test.csv"], "--dev", paths["law_dev.csv"], "--form", "lm-eval", "--json", str(tmp_path / "o.json")]  # fmt: skip
    assert main(words) == 0
    out = capsys.readouterr().out
    figures = json.loads((tmp_path / "o.json").read_text())
    perplexity, choice = figures["perplexity"], figures["choice"]
    assert (perplexity["texts"], perplexity["stride"], perplexity["context"]) == (3, 40, 96)
    assert perplexity["perplexity_per_byte"] == pytest.approx(2 ** perplexity["bits_per_byte"])
    assert f"{perplexity['perplexity_per_token']:,.3f} a token" in out
    assert "context 96, stride 40" in out
    assert (choice["form"], choice["task"], choice["questions"]) == ("lm-eval", "mmlu", 2)
    assert choice["subjects"]["law"]["acc"] in (0.0, 0.5, 1.0)
    assert "wording lm-eval, scored by letter" in out
    assert "A, B take more than one token" in out
    assert f"{choice['acc']:.4f}" in out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["generate", "MODEL"], "no prompt"),
        (["generate", "MODEL", "x" * 200], "prompt 0 has 200 tokens, the model's context is 96"),
        (["generate", "MODEL", "x", "--temperature", "-1"], "temperature -1.0"),
        (["generate", "MODEL", "x", "--top-p", "2"], "top_p 2.0"),
        (["generate", "MODEL", "x", "--file", "LATIN"], "not UTF-8 at byte 1"),
        (["generate", "MODEL", ""], "prompt 0 is empty"),
        (["eval", "MODEL"], "nothing to measure"),
        (["eval", "MODEL", "--text", "EMPTY"], "is empty"),
        (["eval", "MODEL", "--text", "LATIN"], "not UTF-8"),
        (["eval", "MODEL", "--choice", "mmlo", "EMPTY"], "no task named 'mmlo'"),
        (["eval", "MODEL", "--choice", "mmlu"], "no questions"),
        (["eval", "MODEL", "--choice", "mmlu", "EMPTY"], "questions are read from .csv"),
        (["eval", "MODEL", "--text", "TEXT", "--stride", "96"], "the stride 96 does not lie within 1 … 95"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_2(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str], sentence: str
) -> None:
    files = {"MODEL": folder, "LATIN": tmp_path / "latin.txt", "EMPTY": tmp_path / "e.txt", "TEXT": tmp_path / "t.txt"}
    files["LATIN"].write_bytes(b"a\xe9b\n")
    files["EMPTY"].write_text("")
    files["TEXT"].write_text("some text")
    assert main([str(files.get(word, word)) for word in words]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.startswith("danlu: ")
    assert error.count("\n") == 1
