# Everything a fresh machine needs is Python >= 3.11 with pip and venv. Set-up runs once: until pyproject.toml changes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench bench-serve chaos results weights notebooks format clean

help:
	@echo "make demo    four prompts to four videos, and a page that shows them: demo/index.html"
	@echo "make test    format, lint, types, import rules and every test (what CI runs)"
	@echo "make check   the same as make test"
	@echo "make results what the shipped weights can do, measured: docs/results/tiny.md (about an hour and a half)"
	@echo "make bench   what streaming saves and costs, measured: docs/results/bench.md (about 12 minutes)"
	@echo "make bench-serve  how long a client waits for the first picture: docs/results/serve.md (about 5 minutes)"
	@echo "make weights the shipped weights anew, stage after stage: days on two cores; what was interrupted goes on"
	@echo "make notebooks  execute the notebooks in place, outputs included (about 3 minutes)"
	@echo "make chaos   kills of drivers, actors and machines, and a job of 2,000 prompts (about 27 minutes)"
	@echo "make format  let ruff rewrite the sources"
	@echo "make clean   remove what was made here: the environment, the caches, demo/"

setup: $(STAMP)

# Built beside and moved at the end only in the stamp's sense: an install that fails leaves no stamp and is done again.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "longtake needs Python >= 3.11; say which: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/python -m longtake.pipelines.dev.demo

test: check

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict longtake
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadgroup -m "not gpu and not chaos"

chaos: $(STAMP)
	rm -f docs/results/chaos.jsonl
	CHAOS_FIGURES=docs/results/chaos.jsonl OMP_NUM_THREADS=1 $(BIN)/pytest -m chaos

bench: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m longtake.pipelines.dev.bench

bench-serve: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m longtake.pipelines.dev.serve_bench

results: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m longtake.pipelines.dev.tiny_results

weights: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m longtake.pipelines.dev.tiny_training

notebooks: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.end_to_end.notebooks

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
