"""From a request to a job: everything a client can get wrong is found here, before the engine works for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from ..core.errors import ConfigError, unknown
from ..core.rng import generator
from ..nn.layout import Layout
from ..nn.model import Model
from ..peft.attached import acting_as
from ..tokenize import Decoder, Tokenizer
from .blocks import root
from .checked import expect_prompt
from .contrasts import CONTRASTS, Contrast
from .heard import Reading
from .jobs import Job
from .lines import Line
from .request import Request
from .sequence import Sequence as Row
from .stops import Tail

if TYPE_CHECKING:
    from .constraint import Grammar, Vocabulary


class Admission:
    """Checks requests for one model; ``longest`` is the most tokens a text may have, prompt and answer.

    ``default`` are the adapters that act where a request names none, ``revisions`` how often a name was given anew.
    """

    def __init__(self, model: Model, tokenizer: Tokenizer, longest: int, *, companion: bool) -> None:
        model.expect_next()
        self.model, self.tokenizer, self.longest, self.companion = model, tokenizer, longest, companion
        self.default = model.switch.active if model.switch else ()
        self.revisions: dict[str, int] = {}
        self._vocabulary: Vocabulary | None = None

    def job(self, request: Request, number: int, called: str) -> Job:
        """Raises: DanluError with the reason why it cannot be served."""
        adapters = self._adapters(request.adapter)
        if not adapters and not self.default:
            return self._job(request, number, adapters, called)
        with acting_as(self.model, *adapters):
            return self._job(request, number, adapters, called)

    def _job(self, request: Request, number: int, adapters: tuple[str, ...], called: str) -> Job:
        model, sampling = self.model, request.sampling
        expect_prompt(model, request.prompt, self._room(), called)
        encoder = model.begin is not None
        prompt = [model.begin] if model.begin is not None else list(request.prompt)
        room = (model.dims.context if encoder else self.longest) - len(prompt) * (not encoder)
        limit = min(sampling.max_tokens, room)
        stops = sampling.stops(self.tokenizer, model.dims.vocab)
        search = sampling.searching(stops, limit) if sampling.search else None
        contrast: Contrast | None = sampling.contrast.build(CONTRASTS, where="contrast") if sampling.contrast else None
        if search is not None:
            search.check(model.dims.vocab)
        row = Row(prompt, extra=model.extra)
        reading = Reading(adapters, hidden=search is not None and search.wants_hidden, early=self._early(contrast))
        if encoder:
            tokens = torch.tensor([list(request.prompt)], device=next(model.parameters()).device)
            with torch.inference_mode():
                reading.memory = model.read(tokens, Layout.dense(tokens))
        if sampling.constraint is not None:
            row.matcher = self.grammar(sampling.constraint).matcher(stops)
        job = Job(
            number=number, rows=[row], priority=request.priority, request=request,
            rows_wanted=search.width if search else sampling.n, whole=model.ahead or model.undivided,
            decoder=sampling.decoder(stops), stops=stops, limit=limit, search=search, contrast=contrast,
            readings={row.serial: reading},
        )  # fmt: skip
        job.root = self._root(request, adapters, job)
        seeds = sampling.seeds(sampling.n)
        row.random = generator(seeds[0], "sample")
        job.lines = [self._line(job) for _ in range(sampling.n)]
        job.seats = {row.serial: 0}
        return job

    def _adapters(self, name: str | None) -> tuple[str, ...]:
        if name is None:
            return self.default
        if not name:
            return ()
        attached = list(self.model.switch.adapters) if self.model.switch else []
        if name not in attached:
            raise unknown("adapter", name, attached)
        return (name,)

    def _room(self) -> int:
        """The longest prompt and answer, or what an encoder reads at most."""
        encoder = self.model.begin is not None
        return self.model.reach(self.model.source.context) if encoder else self.longest

    def _early(self, contrast: Contrast | None) -> tuple[int, ...]:
        """The layers a contrast listens to."""
        if contrast is None:
            return ()
        if contrast.wants_weak and not self.companion:
            raise ConfigError(
                "this contrast wants a weaker model beside this one; start the engine with a companion "
                "(danlu serve MODEL --companion WEAK)"
            )
        recipe = self.model.recipe
        return tuple(contrast.layers(self.model.dims.layers, tied=bool(getattr(recipe, "tied", False))))

    def grammar(self, constraint: dict[str, Any]) -> Grammar:
        """Compiled, or found again; any thread may ask.  Raises: ConfigError if it cannot be followed."""
        from .constraint import Vocabulary

        if self._vocabulary is None:
            self._vocabulary = Vocabulary(self.tokenizer, self.model.dims.vocab)
        return self._vocabulary.grammar(constraint)

    def _root(self, request: Request, adapters: tuple[str, ...], job: Job) -> bytes | None:
        """Where its keys are found; None where all of its prompt must be read."""
        model, sampling = self.model, request.sampling
        search = job.search is not None and job.search.wants_hidden
        if model.begin is not None or model.ahead or not model.remembers_keys or search:
            return None
        if sampling.prompt_logprobs is not None:
            return None
        weak = job.contrast is not None and job.contrast.wants_weak
        return self.chain(adapters, "weak" if weak else "", request.salt)

    def chain(self, adapters: Sequence[str], *parts: str) -> bytes:
        """Where keys of texts under these adapters begin; other ``parts``, another beginning."""
        return root(*(f"{name}@{self.revisions.get(name, 0)}" for name in adapters), *(parts or ("", "")))

    def _line(self, job: Job) -> Line:
        silent = self.tokenizer.special_ids.difference(job.request.sampling.shown_ids)
        return Line(Decoder(self.tokenizer.spoken, silent), Tail(job.request.sampling.strings), job.stops, job.limit)
