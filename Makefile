# Needs only Python >= 3.11 with pip and venv. Installation runs once, and again when pyproject.toml changes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench bench-serve chaos ablations results weights notebooks format clean

help:
	@echo "make demo         four prompts, four videos, and a page that shows them: demo/index.html"
	@echo "make test         format, lint, types, import rules and tests (same as make check); what CI runs"
	@echo "make format       rewrite the sources with ruff"
	@echo "make notebooks    execute the notebooks in place (about 3 minutes)"
	@echo "make bench        measure what streaming saves and costs: docs/results/bench.md (about 12 minutes)"
	@echo "make bench-serve  measure how soon a stream begins: docs/results/serve.md (about 5 minutes)"
	@echo "make ablations    leave parts out and compare: docs/results/ablations.md (about an hour)"
	@echo "make results      measure the shipped weights: docs/results/tiny.md (about 90 minutes)"
	@echo "make chaos        kill drivers, actors and machines; all other proofs that take long (about 40 minutes)"
	@echo "make weights      train the shipped weights: days on two cores; continues where it stopped"
	@echo "make clean        remove the environment, caches, builds and demo/"

setup: $(STAMP)

# The stamp is written last, so an installation that fails is repeated.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "longtake needs Python >= 3.11; give its path: make PYTHON=/path/to/python3.11" >&2; exit 1; }
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
# Three processes on two cores: tests of the page and of Ray wait for an eighth of their time.
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 3 --dist loadgroup -m "not gpu and not chaos"

chaos: $(STAMP)
	rm -f docs/results/chaos.jsonl
	CHAOS_FIGURES=docs/results/chaos.jsonl OMP_NUM_THREADS=1 $(BIN)/pytest -m chaos

bench: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m longtake.pipelines.dev.bench

bench-serve: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m longtake.pipelines.dev.serve_bench

ablations: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m longtake.pipelines.dev.ablations

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
