# `make reproduce` and `make test` need nothing but Python 3.11+ and a package index.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/installed

SIZE ?= small

.PHONY: reproduce test tables bench lint clean

reproduce: $(READY)
	$(BIN)/lowrank-da reproduce

test: $(READY)
	$(BIN)/python -m pytest -m "not slow" -n auto --maxprocesses 4 --dist worksteal --cov --cov-report=term --cov-fail-under=90

tables: $(READY)
	$(BIN)/lowrank-da tables
	$(BIN)/lowrank-da tables --lang ru
	$(BIN)/python -m paper.pages
	$(BIN)/python -m paper.claims
	if command -v latexmk >/dev/null; then latexmk -cd -pdf -outdir=generated -interaction=nonstopmode paper/main.tex paper/theory.tex; fi

bench: $(READY)
	$(BIN)/python -m experiments.benchmarks.step --size $(SIZE)
	$(BIN)/python -m experiments.benchmarks.scaling --size $(SIZE)
	$(BIN)/python -m experiments.benchmarks.sharing --size $(SIZE)
	$(BIN)/python -m experiments.benchmarks.peers --size $(SIZE)
	$(BIN)/python -m experiments.benchmarks.quality --size $(SIZE)
	$(BIN)/python -m experiments.benchmarks.targets --size $(SIZE)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv paper/generated .coverage .pytest_cache .mypy_cache .ruff_cache

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)
