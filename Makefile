# `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Where an environment says that no bytecode shall be written, every process that is started here would compile all of
# our sources again, and every workflow its own as it starts, in Temporal's sandbox: a fifth of what a command costs.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo up down test matrix bench bench-gap bench-codec bench-verify bench-ship bench-rpo bench-rto check fix lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

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

WORKERS ?= 2

test: $(VENV)/.done ## unit, workflow and replay tests, then one case of each class on the real parts (TIDEGATE_SEED=N: those again)
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile tests --ignore tests/integration --ignore tests/docs \
	    --durations 12 --durations-min 5
	$(BIN)/python -m pytest -q tests/docs --durations 12 --durations-min 5
	TIDEGATE_TEST_RATE=$${TIDEGATE_TEST_RATE:-300} $(BIN)/python -m pytest -q tests/integration/upgrade
	TIDEGATE_TEST_RATE=$${TIDEGATE_TEST_RATE:-300} $(BIN)/python -m pytest -q tests/integration/restore
	TIDEGATE_TEST_RATE=$${TIDEGATE_TEST_RATE:-200} $(BIN)/python -m pytest -q tests/integration/failover/test_planned_real.py \
	    tests/integration/failover/test_unplanned_real.py

matrix: $(VENV)/.done ## every case on the real parts, each class in a sandbox of its own (its log is audited from the start)
	@failed=""; \
	for cases in tests/integration/upgrade/test_*.py tests/integration/restore/test_*.py; do \
	    TIDEGATE_MATRIX=1 $(BIN)/python -m pytest -q $$cases || failed="$$failed $$cases"; \
	done; \
	$(BIN)/python -m pytest -q tests/integration --ignore tests/integration/upgrade \
	    --ignore tests/integration/restore || failed="$$failed others"; \
	test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

TRIPLES ?= 15
PAIRS ?= 9
RPO_S ?= 600
COUNTS ?= 1 4 16

bench: $(VENV)/.done ## every measurement in turn: make bench TRIPLES=3 PAIRS=3 RPO_S=120 is a quick look
	@failed=""; \
	for part in gap codec verify ship rpo rto; do \
	    $(MAKE) --no-print-directory bench-$$part || failed="$$failed $$part"; \
	done; \
	test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

bench-gap: $(VENV)/.done ## the gap of an upgrade against a script's and flink-cli's: make bench-gap TRIPLES=3
	$(BIN)/python -m benchmarks.gap --triples $(TRIPLES)

bench-codec: $(VENV)/.done ## our reader of _metadata against Flink's: make bench-codec PAIRS=3
	$(BIN)/python -m benchmarks.codec --pairs $(PAIRS)

bench-verify: $(VENV)/.done ## a snapshot of 10,000 files verified, against the bare LIST
	$(BIN)/python -m benchmarks.verify --pairs $(PAIRS)

bench-ship: $(VENV)/.done ## a snapshot shipped, against a plain parallel copy
	$(BIN)/python -m benchmarks.ship --pairs $(PAIRS)

bench-rto: $(VENV)/.done ## a lost region's failover over its floor, for 1, 4 and 16 deployments: make bench-rto COUNTS=1000 PAIRS=1
	$(BIN)/python -m benchmarks.rto --counts $(COUNTS) --pairs $(PAIRS)

bench-rpo: $(VENV)/.done ## how old the newest recovery point in the standby is: make bench-rpo RPO_S=120
	$(BIN)/python -m benchmarks.rpo --seconds $(RPO_S)

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
