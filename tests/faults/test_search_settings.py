"""Searches and contrasts that a client got wrong: one sentence with the place, before anything is computed."""

from __future__ import annotations

from typing import Any

import pytest

from danlu.core.errors import ConfigError
from danlu.infer.sampling import Sampling


@pytest.mark.parametrize(
    ("search", "says"),
    [
        ({"use": "bream"}, "did you mean 'beam'"),
        ({"use": "beam", "beams": 4}, r"no setting \['beams'\]; it has"),
        ({"use": "beam", "length_penalty": float("nan")}, r"search\.length_penalty nan: must be a number from -10 to 10"),
        ({"use": "beam", "length_penalty": 400}, r"search\.length_penalty 400"),
        ({"use": "beam", "early_stopping": 1}, r"search\.early_stopping 1: must be true, false or 'never'"),
        ({"use": "beam", "early_stopping": "soon"}, r"search\.early_stopping 'soon'"),
        ({"use": "beam", "early_stopping": [True]}, r"search\.early_stopping"),
        ({"use": "diverse", "groups": 3}, r"search\.groups 3: must divide the width, 4"),
        ({"use": "diverse", "diversity": -1}, r"search\.diversity -1: must be a number from 0 to 10000"),
        ({"use": "diverse", "diversity": "much"}, r"search\.diversity"),
        ({"use": "contrastive", "alpha": 1.1}, r"search\.alpha 1\.1: must be a number from 0 to 1"),
        ({"use": "forced"}, r"needs the setting \['words'\]"),
        *(({"use": "forced", "words": words}, r"search\.words") for words in (
            [], "word", [[]], [[[]]], [5], [[5, -1]], [[5, 1.5]], [[5, [6]]], [[[5], 6]], [["a"]], {"a": 1}, [[5, True]], 7,
            [[5, None]], [["5"]],
        )),
    ],
)  # fmt: skip
def test_searches(search: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as error:
        Sampling(max_tokens=8, search=search)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("contrast", "says"),
    [
        ({"use": "dolly"}, "did you mean 'dola'"),
        ({"use": "dola", "layers": "all"}, r"contrast\.layers 'all': must be 'low', 'high' or a list"),
        ({"use": "dola", "share": 0}, r"contrast\.share 0"),
        ({"use": "contrastive", "temperature": 0}, r"contrast\.temperature 0"),
        ({"use": "contrastive_logits", "strength": 1e9}, r"contrast\.strength"),
    ],
)
def test_contrasts(contrast: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Sampling(contrast=contrast)  # type: ignore[arg-type]


def test_more_answers_than_texts_side_by_side() -> None:
    with pytest.raises(ConfigError, match="5 answers of a search of width 4: ask for 4 or fewer"):
        Sampling(n=5, search={"use": "beam"})  # type: ignore[arg-type]
