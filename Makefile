# The one task list, for people and for CI.
PYTHON ?= python3
INSTALLED := .venv/installed
BENCH_INSTALLED := .venv/bench-installed
DOCS_INSTALLED := .venv/docs-installed
PYTEST = OMP_NUM_THREADS=1 pytest --numprocesses 2 --dist worksteal $(PYTEST_OPTIONS)
LOCK = uv pip compile --quiet --universal --extra all --python-version 3.11 --generate-hashes --no-annotate --no-header
# An index of PyTorch builds without CUDA, where there is no GPU: see docs/installing.md
TORCH_INDEX ?=
SAME = dvc.lock is as committed, and so is every file that it names, to the byte
OTHER = dvc.lock has changed: params, data, code, machine or threads are others (docs/guide.md, Reproducible)
# Choices are made by validation images
NOT_SHOWN = Created|(src|pipeline|data|models|reports)/|\.\./|.*_loss$$|(train|test)_accuracy$$
SIZE = 3.5 GB to download, 7 GB on disk, some five minutes; without a GPU about a fifth of it does (docs/installing.md)
SIZE_WITHOUT_CUDA = about 0.7 GB to download, 2.6 GB on disk
TORCH = $(shell awk '/^torch(vision|audio)?==/ {print $$1}' requirements.lock)
OF_TORCH = torch|torchvision|torchaudio|triton|nvidia-[a-z0-9-]+|cuda-[a-z]+
WITHOUT_TORCH = awk '/^[a-z]/ {kept = !/^($(OF_TORCH))==/} kept'
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export MLFLOW_DISABLE_TELEMETRY = true

# Arguments: a lock, and options of pip's.
define install_locked
$(if $(TORCH_INDEX),$(WITHOUT_TORCH) $1 > .venv/$1)
pip install $2--require-hashes -r $(if $(TORCH_INDEX),.venv/)$1
endef

.DEFAULT_GOAL := help
.PHONY: help install exp repro demo test test-all tools tune bench docs docs-serve tutorial lint lock release ui dashboard clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED)  ## set up .venv; the other targets do so, too

repro: $(INSTALLED)  ## run the pipeline: download, train, evaluate, export
	dvc repro
	@python -c 'import json; r = json.load(open("reports/evaluation.json")); \
	  print("\nTest accuracy: %.2f %% (%d of %d)" % (100 * r["accuracy"], r["correct"], r["total"]))'
	@echo "The run in MLflow: make ui"
	@echo "Plots:             . .venv/bin/activate && dvc plots show --open"
	@git cat-file -e HEAD:./dvc.lock 2>/dev/null || exit 0; \
	  if git diff --quiet HEAD -- dvc.lock; then echo "$(SAME)"; else echo "$(OTHER)"; fi

demo: $(INSTALLED)  ## five minutes: train two networks, draw for one, compare both in MLflow's UI
	lifline demo

test: $(INSTALLED)  ## run the tests that everyone runs
	$(PYTEST) -m "not slow"

test-all: tools test  ## and the slow ones: Ray, PostgreSQL, browsers, kills
	$(PYTEST) -m slow

tools:  ## install what tests need beside Python packages, where apt is at hand
	@.ci/install-tools

tune: $(INSTALLED)  ## search tune.space of params.yaml with Optuna: 30 trials
	lifline tune

bench: $(BENCH_INSTALLED)  ## race lifline against other libraries, write benchmarks/results/
	python -m benchmarks

docs: $(DOCS_INSTALLED)  ## write what code writes in docs/, and build the site: site/index.html
	python -m docs.tools.params
	mkdocs build --strict --quiet

tutorial: $(INSTALLED)  ## run docs/tutorial.md, and write the outputs and figures that it shows
	python -m docs.tools.tutorial

docs-serve: $(DOCS_INSTALLED)  ## serve the site, and build it anew at each change: http://127.0.0.1:8001
	mkdocs serve --dev-addr 127.0.0.1:8001

lint: $(INSTALLED)  ## check style and types
	ruff check .
	ruff format --check .
	mypy

lock: $(INSTALLED)  ## renew the lock files from pyproject.toml
	$(LOCK) --upgrade --group dev pyproject.toml --output-file requirements.lock
	$(LOCK) --upgrade --group bench pyproject.toml --constraint requirements.lock --output-file requirements-bench.lock
	$(LOCK) --upgrade --group docs pyproject.toml --constraint requirements.lock --output-file requirements-docs.lock

release: $(INSTALLED)  ## make dist/ of the commit that is tagged vVERSION: wheel, sdist, model, card, SHA256SUMS
	@python .ci/release.py

# With LESS set, DVC's pager waits even where all rows fit: the table can be scrolled sideways
exp: $(INSTALLED)  ## show experiments: what differs of params and metrics
	@LESS=RS dvc exp show --only-changed --drop '$(NOT_SHOWN)'

ui: $(INSTALLED)  ## serve the MLflow UI on this repository's store
	lifline ui

dashboard: $(INSTALLED)  ## serve optuna-dashboard on the studies: optuna.journal, or LIFLINE_STORAGE
	@test -n "$$LIFLINE_STORAGE" -o -f optuna.journal || { echo "error: there is no study; make tune makes one" >&2; exit 2; }
	optuna-dashboard --host 127.0.0.1 --port 8080 "$${LIFLINE_STORAGE:-optuna.journal}"

clean:  ## remove the environment and caches; keep data, models and runs
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis dvc_plots site src/*.egg-info
	find src pipeline tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lifline needs Python 3.11 or newer; name one: make PYTHON=python3.11")'
	@echo "Setting up .venv: $(if $(TORCH_INDEX),$(SIZE_WITHOUT_CUDA),$(SIZE))."
	@echo "Where the connection breaks, the same command goes on: what has come is kept in pip's cache."
	$(PYTHON) -m venv .venv
ifdef TORCH_INDEX
	pip install --no-deps --index-url $(TORCH_INDEX) $(TORCH)
endif
	$(call install_locked,requirements.lock)
	pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(BENCH_INSTALLED): $(INSTALLED) requirements-bench.lock
	$(call install_locked,requirements-bench.lock,--quiet )
	@touch $@

$(DOCS_INSTALLED): $(INSTALLED) requirements-docs.lock
	$(call install_locked,requirements-docs.lock,--quiet )
	@touch $@
