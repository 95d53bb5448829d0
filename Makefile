# Installation and the usual commands. `make` alone lists them.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help mnist moving_mnist seq_mnist tutorial test faults notebooks lint docs docs-serve smoke fuzz clean

help: ## list the commands
	@grep -E '^[a-z_-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

mnist: $(VENV)/installed ## train on MNIST with the default configuration; ARGS="--epochs 3 --seed 1" adds flags
	$(BIN)/python -m RecurrentFF.benchmarks.mnist.mnist $(ARGS)

moving_mnist: $(VENV)/installed ## train on a digit that moves and bounces off walls
	$(BIN)/python -m RecurrentFF.benchmarks.moving_mnist.moving_mnist $(ARGS)

seq_mnist: $(VENV)/installed ## train on the pen strokes of digits; ARGS="--baseline gru" trains a baseline
	$(BIN)/python -m RecurrentFF.benchmarks.seq_mnist.seq_mnist $(ARGS)

tutorial: $(VENV)/installed ## train the tutorial network, with the threshold objective
	$(BIN)/python -m RecurrentFF.benchmarks.mnist.mnist --config-file configs/tutorial.toml $(ARGS)

test: $(VENV)/installed-dev ## run the tests; ARGS="-k oracle" selects some
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m "not faults and not notebooks" $(ARGS)

faults: $(VENV)/installed-dev ## kill, stop and restart processes of trainings and searches, and take their terminals and disks away (two minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 -m faults tests/test_processes_*.py tests/test_search_workers.py tests/test_signals.py tests/test_streams_of_trainings.py $(ARGS)

notebooks: $(VENV)/installed-dev ## execute the notebooks in examples/, on small settings
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 -m notebooks tests/test_notebooks.py $(ARGS)

docs: $(VENV)/installed-docs ## build the documentation into site/, and check its links
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "The documentation is in site/index.html."

docs-serve: $(VENV)/installed-docs ## show the documentation at http://127.0.0.1:8000, and build it again when a file changes
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

lint: $(VENV)/installed-dev ## check style, types, words and docstrings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell RecurrentFF tests tools examples README.md CONTRIBUTING.md CHANGELOG.md SECURITY.md docs
	$(BIN)/python tools/check_docstrings.py RecurrentFF tools examples

smoke: $(VENV)/installed ## a few batches of each benchmark, to check that it runs
	$(BIN)/python -m RecurrentFF.benchmarks.mnist.mnist --config-file configs/smoke.toml $(ARGS)
	$(BIN)/python -m RecurrentFF.benchmarks.moving_mnist.moving_mnist --config-file configs/smoke.toml $(ARGS)
	$(BIN)/python -m RecurrentFF.benchmarks.seq_mnist.seq_mnist --config-file configs/smoke.toml $(ARGS)

fuzz: $(VENV)/installed-dev ## look for files and arguments that fail badly; ARGS="--seconds 300 --target checkpoint" looks longer
	$(BIN)/python -m tools.fuzz $(ARGS)

clean: ## remove the virtual environment and caches; runs stay
	rm -rf $(VENV) build site *.egg-info .mypy_cache .ruff_cache .hypothesis

# Installation is repeated when pyproject.toml has changed.
$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV); torch is large, this takes a few minutes the first time."

$(VENV)/installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@touch $@ $(VENV)/installed

$(VENV)/installed-docs: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[docs]"
	@touch $@ $(VENV)/installed
