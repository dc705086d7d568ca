# Each target sets up what it needs in .venv, from the exact pins of requirements.lock; a second call installs nothing.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo demo-check test test-slurm lint architecture golden bench-gpu cluster cluster-down clean

setup: .venv/.ready

.venv/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

demo: setup  ## train, evaluate and show the small generated set, here, in minutes
	$(BIN)/python run.py

demo-check: setup  ## three seeds of the demo against its baselines (half an hour and more)
	$(BIN)/python -m tests.learning.check

test: setup  ## the suite; the parts that need Slurm say what to install
	$(BIN)/python -m pytest

test-slurm: setup  ## every cause that stops a run, on a real cluster: a table (a quarter of an hour)
	$(BIN)/python -m pytest tests/slurm -m long
	$(BIN)/python -m tests.slurm.table

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

architecture: setup  ## the picture of the import rules, drawn from their contracts
	$(BIN)/python docs/architecture.py docs/architecture.svg

golden: setup  ## DIR=folder of golden arrays
	$(BIN)/python -m tests.golden $(or $(DIR),tests/golden/data)

# With the Python at hand where it has torch: a GPU's build of torch is not always the one that is pinned.
bench-gpu:  ## every benchmark of speed, on this machine's GPU or without one on its processor: tables and JSON
	@if $(PYTHON) -c "import torch, torchvision, rich" 2>/dev/null; then $(PYTHON) -m benchmarks; \
	else make --no-print-directory setup && $(BIN)/python -m benchmarks; fi

cluster: setup  ## a real Slurm of virtual nodes on this machine, to try things on
	$(BIN)/python -m tests.slurm up

cluster-down: setup
	$(BIN)/python -m tests.slurm down

clean:
	rm -rf .venv build *.egg-info
