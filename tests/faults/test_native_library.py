"""Machines on which native kernels cannot be had: one notice, and torch does the work."""

from __future__ import annotations

import logging

import pytest
import torch

from danlu.infer.native_step import NativeStep
from danlu.nn import native
from danlu.nn.linear import Linear
from danlu.nn.native import library


@pytest.fixture(autouse=True)
def anew(monkeypatch, tmp_path):
    """Nothing is known of kernels yet, and the cache is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("DANLU_NATIVE", raising=False)
    library.found.cache_clear()
    yield
    library.found.cache_clear()


def compiler(tmp_path, monkeypatch, script: str) -> None:
    file = tmp_path / "compiler"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    monkeypatch.setenv("CC", str(file))


def refusal(caplog) -> str:
    with caplog.at_level(logging.WARNING, "danlu"):
        assert not native.ready()
        assert not native.ready()
    assert len(caplog.records) == 1, "one notice"
    assert str(NativeStep.of(Linear(2, 2, axes=("a", "b")))) == native.why()  # type: ignore[arg-type]
    return str(native.why())


def test_switched_off_without_a_word(monkeypatch, caplog):
    monkeypatch.setenv("DANLU_NATIVE", "0")
    assert native.why() == "DANLU_NATIVE is 0"
    assert not caplog.records


def test_no_compiler(monkeypatch, caplog, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert "no C compiler" in refusal(caplog)


def test_a_compiler_that_fails_is_quoted(monkeypatch, caplog, tmp_path):
    compiler(tmp_path, monkeypatch, "echo 'x.c:1: error: no such vectors' >&2; exit 1")
    assert "no such vectors" in refusal(caplog)
    assert not list((tmp_path / "danlu").glob("*")), "nothing half done is left"


def test_code_that_does_not_run_here_is_not_loaded(monkeypatch, caplog, tmp_path):
    for number, body in enumerate(("int probe(void) { __builtin_trap(); }", "int probe(void) { return 1; }")):
        source = tmp_path / f"bad{number}.c"
        source.write_text(body)
        compiler(
            tmp_path, monkeypatch, f'for last; do :; done; shift $(($# - 2)); exec cc -shared -fPIC {source} -o "$1"'
        )
        library.found.cache_clear()
        caplog.clear()
        assert "do not run here" in refusal(caplog)


def test_a_folder_that_cannot_be_written_is_a_notice(monkeypatch, caplog, tmp_path):
    (tmp_path / "danlu").write_text("in the way")
    refusal(caplog)


def test_torch_serves_all_the_same(monkeypatch):
    monkeypatch.setenv("DANLU_NATIVE", "0")
    weight = torch.randint(-7, 8, (5, 64), dtype=torch.int8)
    scales = torch.rand(5, 2)
    there, kept, _ = native.unpacked(native.int4(weight, scales))
    assert torch.equal(there, weight)
    assert torch.equal(kept, scales)
