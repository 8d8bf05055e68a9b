# `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo up down test matrix bench check fix lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.done ## the Python environment, from the lock

$(VENV)/.done: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(VENV)/.done ## everything from nothing: set up, upgrade a live job under traffic, show the verdict, tear down
	$(BIN)/python -m sandbox.demo run

up: $(VENV)/.done ## the sandbox with the ledger's v1 running under traffic, to try the commands on
	$(BIN)/python -m sandbox.demo up

down: $(VENV)/.done ## end the sandbox; its data stays
	$(BIN)/python -m sandbox.demo down

test: $(VENV)/.done ## unit, workflow and replay tests, then one case of each class on the real parts (TIDEGATE_SEED=N: those again)
	$(BIN)/python -m pytest -q tests --ignore tests/integration --durations 12 --durations-min 5
	TIDEGATE_TEST_RATE=$${TIDEGATE_TEST_RATE:-300} $(BIN)/python -m pytest -q tests/integration/upgrade
	TIDEGATE_TEST_RATE=$${TIDEGATE_TEST_RATE:-300} $(BIN)/python -m pytest -q tests/integration/restore

matrix: $(VENV)/.done ## every case on the real parts, each class in a sandbox of its own (its log is audited from the start)
	@failed=""; \
	for cases in tests/integration/upgrade/test_*.py tests/integration/restore/test_*.py; do \
	    TIDEGATE_MATRIX=1 $(BIN)/python -m pytest -q $$cases || failed="$$failed $$cases"; \
	done; \
	$(BIN)/python -m pytest -q tests/integration --ignore tests/integration/upgrade \
	    --ignore tests/integration/restore || failed="$$failed others"; \
	test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

TRIPLES ?= 15

bench: $(VENV)/.done ## the gap of an upgrade against a script's and flink-cli's: make bench TRIPLES=3
	$(BIN)/python -m benchmarks.gap --triples $(TRIPLES)

check: $(VENV)/.done ## lint, types and import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(VENV)/.done ## let the formatter and the linter mend what they can
	$(BIN)/ruff check --fix --silent . || true
	$(BIN)/ruff format .

lock: ## pin every dependency again (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	    --extra dev --extra containers pyproject.toml -o requirements.lock

clean: ## remove what was built here; the sandbox's data and the parts' cache stay
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
