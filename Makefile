# Every target does its own set-up: the first call makes .venv from requirements.lock, later ones find it done.

.DEFAULT_GOAL := help
.PHONY: help setup servers demo test fuzz chaos lint bench docs lock clean

BIN := .venv/bin
READY := .venv/.ready
SUPPORTED := import ensurepip, sys, venv; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet

help:
	@echo "make setup   the environment in .venv, from requirements.lock; every other target does it too"
	@echo "make demo    a year of real purchases through three plans, to a table, a plot and a DuckDB file"
	@echo "make test    all tests, on real servers where they are to be had"
	@echo "make servers fetch what starts these: Kafka, Redis, a schema registry, and Java for it; make test does it too"
	@echo "make fuzz    100,000 random plans with logs, and as many expressions (ARGS=... goes to tests/fuzz.py)"
	@echo "make chaos   hundreds of kills of live runs, their brokers and their providers (three quarters of an hour)"
	@echo "make lint    ruff, mypy, import-linter, flowops lint and flowops test over the example plans"
	@echo "make bench   the benchmarks of docs/performance.md (ARGS=... goes to benchmarks/run.py)"
	@echo "make docs    write the generated pages of docs/ anew"
	@echo "make lock    resolve requirements.lock anew from pyproject.toml"
	@echo "make clean   remove what a run or a check left, and the environment"

setup: $(READY)
	@echo "The environment in .venv is ready."

$(READY): requirements.lock pyproject.toml
	@set -e; \
	if ! $(BIN)/python -c '$(SUPPORTED)' 2>/dev/null; then \
		for python in python3.12 python3.11 python3 python; do \
			if $$python -c '$(SUPPORTED)' 2>/dev/null; then found=$$python; break; fi; \
		done; \
		if [ -z "$$found" ]; then \
			echo "flowops needs Python 3.11 or 3.12 with venv (on Debian also: python3-venv); neither was found." >&2; \
			exit 1; \
		fi; \
		echo "Making .venv with $$($$found --version)"; \
		$$found -m venv --clear .venv; \
	fi
	@echo "Installing the packages of requirements.lock into .venv (once, a minute or two)"
	@$(PIP) install --require-hashes --only-binary :all: -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY)
	@$(BIN)/python scripts/demo.py

# As root through apt-get where there is one; otherwise it says what is missing, and the tests that need it are skipped.
servers: $(READY)
	@PYTHONPATH=tests $(BIN)/python -m servers.fetch

test: servers
	@$(BIN)/python -m compileall -q src
	@$(BIN)/python -m pytest -n 3 --dist worksteal $(ARGS)

fuzz: $(READY)
	@PYTHONPATH=tests:tests/core:tests/rules $(BIN)/python tests/fuzz.py $(ARGS)

chaos: servers
	@FLOWOPS_KILLS=50 $(BIN)/python -m pytest tests/channels/test_run.py -k killed --timeout 1800 $(ARGS)
	@FLOWOPS_GONE=200 $(BIN)/python -m pytest tests/streaming/test_faults.py -k broker_is_gone $(ARGS)
	@FLOWOPS_CHAOS=200 $(BIN)/python -m pytest tests/streaming/test_chaos.py $(ARGS)

lint: $(READY)
	@echo "== ruff check";          $(BIN)/ruff check --quiet .
	@echo "== ruff format --check"; $(BIN)/ruff format --check --quiet .
	@echo "== mypy --strict";       $(BIN)/mypy src dataflows benchmarks scripts tests/servers
	@echo "== lint-imports";        $(BIN)/lint-imports
	@echo "== flowops lint";        $(BIN)/flowops lint
	@echo "== flowops test";        $(BIN)/flowops test
	@echo "== generated docs";      $(BIN)/python scripts/docs.py --check
	@echo "lint: all passed"

bench: $(READY)
	@$(BIN)/python benchmarks/run.py $(ARGS)

docs: $(READY)
	@$(BIN)/python scripts/docs.py

# Versions stay where they still fit; all of them anew: make lock UPGRADE=--upgrade, or one: UPGRADE='-P NAME'.
# The index is left out of the file, so that it serves behind any mirror; setuptools builds the project itself.
lock:
	@test -x $(BIN)/python || $(MAKE) setup
	@test -x $(BIN)/uv || $(PIP) install uv
	@echo "Resolving pyproject.toml for Python 3.11 and 3.12 into requirements.lock"
	@printf 'setuptools>=77\nwheel\n' | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 $(UPGRADE) \
		--generate-hashes --no-emit-index-url --custom-compile-command "make lock" \
		--extra dev --output-file requirements.lock pyproject.toml -
	@if grep -n '://' requirements.lock; then echo "requirements.lock names a host" >&2; exit 1; fi

clean:
	rm -rf .venv .flowops warehouse out build dist .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
