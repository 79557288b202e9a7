"""In the place of an engine for models that only read: encoders, which make vectors and cannot go on with a text."""

from __future__ import annotations

from ..core.errors import ConfigError
from ..infer.admission import Admission
from ..infer.request import Event, Request, Stats
from ..infer.settings import EngineSettings
from ..nn.model import Model
from ..tokenize import Tokenizer


class Reader:
    """Has what the server asks of an engine; every request to go on with a text is refused with the reason."""

    busy = False

    def __init__(self, model: Model, tokenizer: Tokenizer, *, settings: EngineSettings | None = None) -> None:
        self.model, self.tokenizer, self.settings = model.eval(), tokenizer, settings or EngineSettings()
        self.stats = Stats()

    @property
    def adapters(self) -> list[str]:
        return list(self.model.switch.adapters) if self.model.switch else []

    @property
    def admission(self) -> Admission:
        raise ConfigError("this model is an encoder and only reads: ask it for /v1/embeddings or /v1/rerank")

    def submit(self, request: Request) -> int:
        return self.admission.job(request, 0, "the prompt").number

    def abort(self, number: int) -> None:
        """There is nothing to end."""

    def step(self) -> list[Event]:
        return []

    def renewed(self, adapter: str) -> None:
        """Nothing is kept of texts."""
