"""From text to a tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..core.spec import Spec
from .corpus import Corpus, nonempty, texts
from .profile import MARKERS, Profile
from .template import chatml
from .tokenizer import Tokenizer
from .trainers import TRAINERS, VocabularyTrainer

END, START_TURN, END_TURN, PAD = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"
CHAT = (END, START_TURN, END_TURN, PAD)


def train(
    corpus: Corpus,
    kind: str | Mapping[str, Any] | Spec = "byte_bpe",
    *,
    vocab: int = 8192,
    specials: tuple[str, ...] = CHAT,
    digits: str | None = None,
    normalization: str | None = None,
    template: str | None = None,
) -> Tokenizer:
    """Learns a vocabulary from files (.txt, .md, .jsonl) or from an iterator of strings.

    kind: a name of TRAINERS, or a name with settings, ``{"use": "byte_bpe", "digits": "triple"}``; ``digits`` and
    ``normalization`` may be given here as well.  ``<|endoftext|>`` among the specials begins and ends documents,
    ``<|pad|>`` fills rows and is never the end; with the ChatML markers the tokenizer gets a ChatML template.
    Raises: DataError if there is no text; ConfigError if a kind, a setting or a size does not fit.
    """
    named = {"digits": digits, "normalization": normalization}
    spec = Spec.read(dict(kind) if isinstance(kind, Mapping) else kind, "kind")
    spec = Spec(spec.use, {**spec.settings, **{k: v for k, v in named.items() if v is not None}})
    trainer: VocabularyTrainer = spec.build(TRAINERS, vocab, tuple(specials))
    what = "the iterator" if isinstance(corpus, Iterator) else str(corpus)
    engine = trainer.learn(nonempty(texts(corpus), what))
    return Tokenizer(engine, _profile(trainer, template))


def _profile(trainer: VocabularyTrainer, template: str | None) -> Profile:
    specials = set(trainer.specials)
    guessed = Profile.guess({*specials, *trainer.first})
    both = END if END in specials else None
    if template is None and specials >= MARKERS:
        template = chatml()
    return Profile(
        bos=both or guessed.bos,
        eos=both or guessed.eos,
        pad=guessed.pad,
        unk=trainer.unknown,
        templates={} if template is None else {"default": template},
    )
