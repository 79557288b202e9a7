"""What a user types wrong ends in one sentence, a non-zero exit and no traceback."""

from __future__ import annotations

import errno

import pytest

from danlu.cli import main, verbs


def test_an_unknown_verb_names_the_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("danlu: no verb named 'trian' (did you mean 'train'?)")
    assert len(error.splitlines()) == 1


def test_every_verb_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in verbs():
        with pytest.raises(SystemExit) as stop:
            main([verb, "--help"])
        assert stop.value.code == 0
        assert f"danlu {verb}" in capsys.readouterr().out


def test_an_unknown_kind_of_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["parts", "positon"]) == 2
    assert "did you mean 'position'?" in capsys.readouterr().err


def test_faults_of_the_machine_are_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: list[str]) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "runs/x")

    monkeypatch.setattr("danlu.cli._run", full)
    assert main(["parts"]) == 1
    assert capsys.readouterr().err == (
        "danlu: runs/x: the disk is full; free some space and run the same command again, it goes on from the last save\n"
    )


def test_parts_and_doctor_print(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["parts", "position"]) == 0
    assert "arXiv:2104.09864" in capsys.readouterr().out
    assert main(["doctor"]) == 0
    assert "torch" in capsys.readouterr().out
