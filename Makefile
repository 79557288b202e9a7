# Every target makes .venv by itself; run any of them on a clean clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test check bench docs clean
.DELETE_ON_ERROR:

demo: $(VENV)/.demo
	$(BIN)/danlu demo

# One process a core, whole files each: the models of tests are tiny and use one thread.
test: $(VENV)/.test
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

check: $(VENV)/.check
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/house

bench: $(VENV)/.bench
	$(BIN)/danlu bench

docs: $(VENV)/.test
	$(BIN)/python tools/papers.py
	$(BIN)/python -m pytest tests/docs

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# torch comes first and pinned: without it another package would pull gigabytes of CUDA libraries.
$(VENV)/.torch: $(BIN)/python constraints.txt
	$(PIP) install "$$(grep '^torch==' constraints.txt)"
	touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	$(PIP) install --constraint constraints.txt --editable '.[all]'
	touch $@

$(VENV)/.test: $(VENV)/.demo
	$(PIP) install --constraint constraints.txt --editable '.[test]'
	touch $@

$(VENV)/.check: $(VENV)/.test
	$(PIP) install --constraint constraints.txt --editable '.[test,check]'
	touch $@

$(VENV)/.bench: $(VENV)/.test
	$(PIP) install --constraint constraints.txt --editable '.[test,bench]'
	touch $@
