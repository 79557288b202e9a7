"""ollama: a folder with a GGUF file and the Modelfile that makes a model of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...core.errors import CheckpointError
from ...core.files import new_folder, write_text
from ...nn.model import Model
from ..consumers import Consumer
from ..modelfile import frame, modelfile
from . import EXPORTS
from .gguf import Gguf

if TYPE_CHECKING:
    from ...tokenize import Tokenizer

WEIGHTS, FILE = "model.gguf", "Modelfile"


@EXPORTS.add("ollama")
class Ollama(Gguf):
    """A GGUF file as of ``gguf``, and a Modelfile with its chat template in Go, its stops and its settings.

    ``ollama create NAME -f Modelfile`` makes the model.
    Raises: ConfigError if llama.cpp cannot run the model, or its chat template cannot be told to Ollama.
    Source: https://github.com/ollama/ollama/blob/main/docs/modelfile.mdx.
    Truth:  tests/truth/test_modelfile.py (Go's template, evaluated by hand, against the Jinja template).
    """

    suffix = ""

    def write(self, model: Model, tokenizer: Tokenizer, out: Path, *, overwrite: bool) -> None:
        text = modelfile(tokenizer, model.notes, model.dims.context, WEIGHTS)
        with new_folder(out, overwrite=overwrite) as draft:
            super().write(model, tokenizer, draft / WEIGHTS, overwrite=False)
            write_text(draft / FILE, text)

    def reopened(self, out: Path) -> tuple[Model, Tokenizer]:
        return super().reopened(out / WEIGHTS)

    def consumer(self, out: Path, model: Model) -> Consumer:
        return super().consumer(out / WEIGHTS, model)

    def also(self, out: Path, tokenizer: Tokenizer) -> list[str]:
        text = (out / FILE).read_text(encoding="utf-8")
        if tokenizer.template.exists and frame(tokenizer).go() not in text:
            raise CheckpointError(f"{out / FILE}: holds another chat template than the model's; export it again")
        return ["the Modelfile's template frames conversations as the model's own does; `ollama create` was not run"]
