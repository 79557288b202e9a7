"""Every form of export opened by its consumer: transformers for directories, llama.cpp for files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from gguf_models import small
from talkers import small_tokenizer

import danlu
import danlu.models
from danlu.assembly.comparing import agreement
from danlu.assembly.consumers import Answer
from danlu.assembly.consumers.transformers_library import Transformers
from danlu.assembly.exporting import export
from danlu.assembly.exports import EXPORTS
from danlu.assembly.exports.hf import spoken
from danlu.cli import main
from danlu.core.errors import CheckpointError, ConfigError, DanluError
from danlu.core.spec import Spec
from danlu.peft.attached import Base, attach
from danlu.tokenize import Tokenizer

for library in ("gguf", "xllamacpp", "transformers", "compressed_tensors"):
    pytest.importorskip(library)

pytestmark = pytest.mark.filterwarnings("ignore")  # of transformers and what it quantizes with


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports")
    tokenizer = small_tokenizer(folder / "tokenizer")
    danlu.models.save(small("llama", model=64, ffn=128), tokenizer, folder / "model")
    return folder / "model"


@pytest.mark.slow
@pytest.mark.parametrize("name", list(EXPORTS))
def test_every_form_is_opened_by_its_consumer(name: str, folder: Path, tmp_path: Path) -> None:
    form = EXPORTS[name]()
    verdict = export(folder, tmp_path / f"out{form.suffix}", form, verify="the cat 你好")
    assert verdict is not None
    assert verdict.agreement.conversations == 3
    assert verdict.agreement.stops == 2
    assert verdict.agreement.same == verdict.agreement.steps > 2
    if name != "compressed-tensors":
        assert verdict.moved < 1e-4


@pytest.mark.parametrize("use", ["llama", "mistral", "qwen2", "qwen3", "gpt2", "bloom", "mixtral", "glm4"])
def test_transformers_opens_directories(use: str, tmp_path: Path) -> None:
    danlu.models.save(small(use), small_tokenizer(tmp_path / "tokenizer"), tmp_path / "model")
    verdict = export(tmp_path / "model", tmp_path / "out", EXPORTS["hf"](), verify="he said")
    assert verdict is not None
    assert verdict.agreement.share < 1e-4


def test_an_adapter_is_merged_first(folder: Path, tmp_path: Path) -> None:
    model, tokenizer = danlu.load(folder)
    attach(model, Spec.read({"use": "lora", "rank": 4}), base=Base(str(folder), ""))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora" in name or weight.requires_grad:
                weight.normal_(std=0.3, generator=torch.Generator().manual_seed(5))
    tokens = torch.arange(12)[None]
    adapted = model(tokens)
    danlu.save(model, tokenizer, tmp_path / "adapter")
    export(tmp_path / "adapter", tmp_path / "out.gguf", EXPORTS["gguf"](), verify="the")
    merged, _ = danlu.load(tmp_path / "out.gguf")
    torch.testing.assert_close(merged(tokens), adapted, atol=2e-4, rtol=1e-4)
    assert (danlu.load(folder)[0](tokens) - adapted).abs().max() > 0.1


def test_our_own_family_leaves_in_the_words_of_another(tmp_path: Path) -> None:
    danlu.models.save(small("decoder", tied=False), small_tokenizer(tmp_path / "t"), tmp_path / "model")
    export(tmp_path / "model", tmp_path / "out", EXPORTS["hf"](), verify="the cat")
    assert danlu.load(tmp_path / "out")[0].recipe.family != "decoder"
    assert danlu.load(tmp_path / "model")[0].recipe.family == "decoder"
    with pytest.raises(ConfigError, match="no published family computes what this model"):
        spoken(small("decoder", wiring="post").recipe)


class Liar(Transformers):
    """A consumer that errs in one thing."""

    name = "liar"
    ids_are, stops_are, talk_is, push = True, True, True, 0.0

    def ids(self, text: str) -> list[int]:
        return super().ids(text) if self.ids_are else [*super().ids(text), 7]

    def stops(self, token: int) -> bool:
        return self.stops_are and super().stops(token)

    def conversation(self, messages: object) -> str:
        return super().conversation(messages) if self.talk_is else ""  # type: ignore[arg-type]

    def answer(self, prompt: object, steps: int) -> Answer:
        said = super().answer(prompt, steps)  # type: ignore[arg-type]
        return Answer(
            said.tokens, [law and (law[0], law[1] + self.push * torch.randn(len(law[1]))) for law in said.laws]
        )


@contextmanager
def lying(folder: Path, **lies: object) -> Iterator[tuple[Liar, danlu.models.Stack, Tokenizer]]:
    consumer = Liar(folder)
    vars(consumer).update(lies)
    model, tokenizer = danlu.load(folder)
    assert isinstance(model, danlu.models.Stack)
    assert tokenizer is not None
    yield consumer, model, tokenizer
    consumer.close()


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        ({"ids_are": False}, "other ids than danlu"),
        ({"stops_are": False}, "does not stop at"),
        ({"talk_is": False}, "another text of a conversation"),
        ({"push": 0.05}, "another law of the next token"),
    ],
)
def test_each_difference_is_found(lie: dict[str, object], words: str, folder: Path) -> None:
    with lying(folder) as (consumer, model, tokenizer):
        agreement(consumer, model, tokenizer, "the cat", tolerance=1e-3, stops=tokenizer.stops, steps=4)
    with lying(folder, **lie) as (consumer, model, tokenizer), pytest.raises(CheckpointError, match=words):
        agreement(consumer, model, tokenizer, "the cat", tolerance=1e-3, stops=tokenizer.stops, steps=4)


def test_another_text_is_found(folder: Path) -> None:
    class Babbler(Liar):
        def answer(self, prompt: object, steps: int) -> Answer:
            said = super().answer(prompt, steps)
            return Answer([*said.tokens[:-1], (said.tokens[-1] + 1) % 267], said.laws)

    model, tokenizer = danlu.load(folder)
    assert tokenizer is not None
    with pytest.raises(CheckpointError, match="goes on with another text than danlu, from token 4"):
        agreement(Babbler(folder), model, tokenizer, "the", tolerance=1e-3, stops=(), steps=4)


def test_the_verb(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(folder), "--to", "gguf", "--type", "q8_0", "--verify", "the cat"]) == 0
    said = capsys.readouterr().out
    assert "saved to model-gguf.gguf" in said
    assert "verified with llama.cpp: 8 texts have the same ids, 3 conversations the same text" in said
    for words, wrong in (
        (["--to", "gguf"], "exists already"),
        (["--to", "pickle"], "no export named 'pickle'"),
        (["--to", "hf", "--type", "q8_0"], "--type: is no setting of --to hf"),
        (["new.gguf", "--to", "gguf", "--type", "q9_9"], "no GGUF type named 'q9_9'"),
        (["new", "--to", "compressed-tensors", "--method", "int4", "--group", "48"], "48"),
    ):
        assert main(["export", str(folder), *words]) == 2
        assert wrong in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_llama_cpp_by_its_python_binding(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    from gguf_models import written

    from danlu.assembly.consumers.llama_python import LlamaPython

    model, tokenizer = small("llama"), small_tokenizer(tmp_path / "tokenizer")
    consumer = LlamaPython(written(model, tokenizer, tmp_path), 96)
    found = agreement(consumer, model, tokenizer, "the cat", tolerance=1e-4, stops=tokenizer.stops)
    consumer.close()
    assert found.same == found.steps
    (tmp_path / "cut.gguf").write_bytes((tmp_path / "model.gguf").read_bytes()[:5000])
    with pytest.raises(CheckpointError, match=r"llama.cpp does not open it"):
        LlamaPython(tmp_path / "cut.gguf", 96)


def test_without_llama_cpp_the_file_stays_and_it_says_how_to_install_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(DanluError, match=r"was written, but comparing it needs llama.cpp: pip install xllamacpp"):
        export(folder, tmp_path / "out.gguf", EXPORTS["gguf"](), verify="the")
    assert (tmp_path / "out.gguf").exists()
