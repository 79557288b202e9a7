"""An objective that the tokenizer or the model cannot serve is refused in a sentence, before any data is made for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from train_tiny import write_recipe

from danlu.core.errors import ConfigError
from danlu.train.run import train

BERT = {"use": "bert", "model": 16, "layers": 1, "heads": 2, "context": 64}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"objective": "masked", "architecture": BERT},
            r"masked needs a token for 'mask'.*tokenizer train.*'\[MASK\]'",
        ),
        ({"objective": "spans"}, r"the tokenizer has no <extra_id_0>.*objective.sentinels = N"),
        ({"objective": {"use": "spans", "sentinels": 9}}, r"Stack has no encoder; use architecture: \{use: t5"),
        ({"objective": "next_token", "architecture": BERT}, r"hears those after it"),
        ({"objective": "blank"}, r"blank needs a token for 'mask'"),
        ({"objective": {"use": "masked", "shares": 0.2}}, r"objective 'masked' has no setting \['shares'\]"),
    ],
)
def test_refused_before_the_data(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, **changes)
    with pytest.raises(ConfigError, match=sentence) as caught:
        train(recipe, out=tmp_path / "out", quiet=True)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "data").exists()
