"""Masked: how many tokens are chosen and what becomes of them; a loss worked by hand; a model that learns to fill in."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from data_tokenizer import make_tokenizer
from objective_samples import WORDS as VOCABULARY
from objective_samples import Bigram, encoder
from train_tiny import packed, tiny_model

from danlu import tokenize
from danlu.core.batch import IGNORE, Batch
from danlu.core.errors import ConfigError
from danlu.objectives.masked import Masked, told
from danlu.objectives.next_token import NextToken
from danlu.objectives.vocabulary import Vocabulary

MASK = VOCABULARY.roles["mask"]


def rows(count: int = 400, length: int = 100) -> Batch:
    tokens = torch.randint(5, 36, (count, length + 1), generator=torch.Generator().manual_seed(0))
    tokens[:, 0] = VOCABULARY.roles["cls"]
    return Batch.dense(tokens)


def test_fifteen_of_a_hundred_tokens_and_of_them_eighty_ten_ten() -> None:
    batch = rows()
    torch.manual_seed(1)
    drawn = Masked(16, VOCABULARY).sample(batch)
    chosen = drawn.targets != IGNORE
    assert (chosen.sum(1) == round(0.15 * 99)).all()  # the first of 100 tokens is special
    assert not chosen[:, 0].any()
    assert torch.equal(drawn.weight > 0, chosen)
    assert torch.equal(drawn.tokens[~chosen], batch.tokens[~chosen])
    assert torch.equal(drawn.targets[chosen], batch.tokens[chosen])
    seen, true = drawn.tokens[chosen], batch.tokens[chosen]
    n = len(true)
    for share, found in ((0.8, seen == MASK), (0.1 * 30 / 31, (seen != true) & (seen != MASK))):
        assert found.float().mean().item() == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / n))
    other = seen[(seen != true) & (seen != MASK)]
    assert set(other.tolist()) == set(range(5, 36))  # every ordinary token, no special one


@pytest.mark.parametrize(("mask", "random"), [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0)])
def test_the_whole_of_one_kind(mask: float, random: float) -> None:
    batch = rows(20)
    drawn = Masked(16, VOCABULARY, share=0.5, mask=mask, random=random).sample(batch)
    chosen = drawn.targets != IGNORE
    assert (drawn.tokens[chosen] == MASK).float().mean().item() == mask
    assert ((drawn.tokens == batch.tokens)[chosen].float().mean().item() == 1.0) == (mask == random == 0.0)


def test_every_time_another_mask_and_from_one_seed_the_same() -> None:
    batch, objective = rows(2), Masked(16, VOCABULARY)
    torch.manual_seed(3)
    first, second = objective.sample(batch), objective.sample(batch)
    assert not torch.equal(first.targets, second.targets)
    torch.manual_seed(3)
    assert torch.equal(objective.sample(batch).tokens, first.tokens)


def test_what_is_padding_special_or_of_weight_zero_is_never_chosen() -> None:
    batch = packed(50, 24)
    drawn = Masked(16, VOCABULARY, share=1.0).sample(batch)
    free = (told(batch) > 0) & ~VOCABULARY.among_special(batch.tokens)
    assert torch.equal(drawn.targets != IGNORE, free)
    assert not (free & (batch.segment == 0)).any()
    assert torch.equal(drawn.weight[free], told(batch)[free])


def test_telling_a_token_counts_what_predicting_it_does() -> None:
    batch = packed(1, 24)
    weight = told(batch)[0].tolist()
    for slot in range(22):
        first = batch.position[0, slot] == 0
        assert weight[slot] == batch.weight[0, slot if first else slot - 1]
    assert weight[22:] == [0.0, 0.0]


def test_a_loss_by_hand() -> None:
    """A model that sees only the token itself: -log softmax(table[shown])[true], over the chosen ones."""
    torch.manual_seed(5)
    model, batch = Bigram(40), rows(3, 20)
    objective = Masked(7, VOCABULARY)
    drawn = objective.sample(batch)
    loss = objective.loss(model, drawn)
    table = model.table.detach().double().log_softmax(-1)
    places = (drawn.targets != IGNORE).nonzero().tolist()
    assert loss.total.item() == pytest.approx(
        -sum(float(table[drawn.tokens[b, t], batch.tokens[b, t]]) for b, t in places), rel=1e-6
    )
    assert loss.weight.item() == len(places) == 3 * round(0.15 * 19)


def test_a_full_model_learns_what_stands_beside() -> None:
    """Rows of one token each: a hidden one is what the others are, on whichever side they stand."""
    torch.manual_seed(0)
    model, objective = encoder(), Masked(64, VOCABULARY)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(100):
        runs = torch.randint(5, 36, (16, 1)).expand(-1, 13)
        loss = objective.loss(model, objective.sample(Batch.dense(runs)))
        mean = loss.total / loss.weight
        optimizer.zero_grad()
        mean.backward()
        optimizer.step()
        losses.append(mean.item())
    assert losses[0] == pytest.approx(math.log(40), abs=0.3)
    assert sum(losses[-10:]) / 10 < 2.0, losses[::8]


def test_a_model_that_looks_only_back_is_a_sentence() -> None:
    Masked(16, VOCABULARY).check(encoder())
    with pytest.raises(ConfigError, match=r"this llama looks only back; use architecture"):
        Masked(16, VOCABULARY).check(tiny_model())
    with pytest.raises(ConfigError, match=r"hears those after it"):
        NextToken(16).check(encoder())


@pytest.mark.parametrize("wrong", [{"share": 0.0}, {"share": 1.5}, {"mask": 0.9, "random": 0.2}, {"mask": -0.1}])
def test_shares_that_are_none_are_a_sentence(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"objective masked needs 0 < share"):
        Masked(16, VOCABULARY, **wrong)


def test_a_tokenizer_without_a_mask_is_a_sentence(tmp_path: Path) -> None:
    vocabulary = Vocabulary.of(make_tokenizer(tmp_path))
    with pytest.raises(ConfigError, match=r"needs a token for 'mask'.*\[MASK\].*--special"):
        Masked(16, vocabulary)


def test_the_remedy_is_one(tmp_path: Path) -> None:
    """A tokenizer trained as the sentence says has the token, saved and read again too."""
    specials = ("[PAD]", "[CLS]", "[SEP]", "[MASK]", "<extra_id_1>", "<extra_id_0>")
    trained = tokenize.train(iter(["a text of some words"]), "char", vocab=60, specials=specials)
    trained.save(tmp_path)
    vocabulary = Vocabulary.of(tokenize.load_tokenizer(tmp_path))
    assert Vocabulary.of(trained) == vocabulary
    expected = {"pad": 0, "cls": 1, "sep": 2, "mask": 3, "bos": 1, "eos": 2}
    assert {role: vocabulary.roles[role] for role in expected} == expected
    assert vocabulary.sentinels == (5, 4)
    assert not set(vocabulary.ordinary().tolist()) & vocabulary.special
    assert len(vocabulary.ordinary()) + len(vocabulary.special) == vocabulary.size
