# Each target sets up what it needs in .venv, from the exact pins of requirements.lock; a second call installs nothing.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# The build of torch: the one with CUDA, or with TORCH=cpu TORCH_INDEX=ADDRESS the one without, from those wheels. It is
# put into .venv first, where what follows leaves it. A build that is there already stays: `make clean` comes before.
TORCH = cuda
TORCH_INDEX =
ifeq ($(TORCH),cpu)
ifeq ($(TORCH_INDEX),)
$(error TORCH=cpu needs the address of torch's wheels without CUDA: make setup TORCH=cpu TORCH_INDEX=ADDRESS)
endif
CPU_TORCH = $(PIP) --index-url '$(TORCH_INDEX)' $(shell grep -E '^torch(vision)?==' requirements.lock)
else ifneq ($(TORCH),cuda)
$(error TORCH=$(TORCH) is no build of torch; choose TORCH=cpu or TORCH=cuda, which is the default)
endif

.PHONY: setup wheel demo demo-check transfer-check test test-docs test-slurm test-slurm-versions lint architecture docs golden bench-gpu cluster cluster-down clean

setup: .venv/.ready

.venv/.ready: requirements.lock cuda.lock pyproject.toml setup.py
	$(PYTHON) -m venv .venv
	$(CPU_TORCH)
	$(PIP) --requirement requirements.lock --constraint cuda.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@

wheel: setup  ## dist/: what `pip install` takes elsewhere, without a checkout
	rm -rf build
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .

demo: setup  ## train, evaluate and show the small generated set, here, in minutes
	$(BIN)/python run.py

demo-check: setup  ## three seeds of the demo against its baselines (half an hour and more)
	$(BIN)/python -m tests.learning.check

transfer-check: setup  ## three seeds of the demo, fine-tuned on detection and segmentation, beside others (ten minutes)
	$(BIN)/python -m tests.learning.transfer

test: setup  ## the suite; one of its three processes waits for Slurm most of the time
	$(BIN)/python -m pytest --numprocesses=3

test-docs: setup  ## every block of the README and the docs, as a reader types it (three minutes)
	$(BIN)/python -m pytest tests/docs -m "long or not long"

test-slurm: setup  ## every cause that stops a run, on a real cluster: a table (a quarter of an hour)
	$(BIN)/python -m pytest tests/slurm -m long
	$(BIN)/python -m tests.slurm.table

test-slurm-versions: setup  ## the same on Slurm 24.11 and 26.05, in root folders of Debian 13 and forky (root only; over an hour)
	$(BIN)/python -m tests.slurm.versions pytest tests/slurm -m "long or not long"
	$(BIN)/python -m tests.slurm.comparison

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

architecture: setup  ## the picture of the import rules, drawn from their contracts
	$(BIN)/python docs/architecture.py docs/architecture.svg

docs: setup  ## the pages of docs/ as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

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
	rm -rf .venv build dist *.egg-info
