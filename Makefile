# `make` lists the targets. Needs Python 3.11 and make; everything else is installed into .venv, or by apt-get when a
# server is needed that the machine lacks (deploy/services.py).

PYTHON ?= python3.11
# Data that may not be shipped. What needs it says so, and fails without.
STAKEOUT_DATA ?= ../shared/data
VENV   := .venv
PY     := $(VENV)/bin/python
DEV    := $(VENV)/.dev $(VENV)/.project
RUN    := $(PY) deploy/services.py run

# Compiles the matcher's kernels into Numba's cache in a process of its own. At once when they are there already.
WARM   ?= $(PY) -m cep.warm

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint format bench handbook fuzz ask chaos warm up down install lock clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.project warm  ## a card stream with planted fraud, embedded; DEMO_SECONDS=20 ends it by itself
	@$(VENV)/bin/stakeout demo $(if $(DEMO_SECONDS),--seconds $(DEMO_SECONDS))

test: $(DEV) warm  ## every test, on real Kafka, Redis and Postgres; ARGS="-k name" for some
	$(RUN) -- $(PY) -m pytest $(ARGS)

lint: $(DEV)  ## style, format, types, layers, tidiness
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m pytest -q tests/test_house.py

format: $(DEV)  ## lays out the code and mends what can be mended
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

bench: $(DEV) warm  ## ours and the peers' side by side, to bench/out/results.json
	STAKEOUT_KAFKA_JVM= $(RUN) --only kafka,redis -- $(PY) -m bench $(ARGS)

handbook: $(VENV)/.project warm  ## back-test over the Fraud Detection Handbook; STAKEOUT_DATA says where the data is
	@$(VENV)/bin/stakeout backtest examples/handbook/patterns --data $(STAKEOUT_DATA)/handbook/transactions.parquet \
		--label TX_FRAUD --value TX_AMOUNT --by TX_FRAUD_SCENARIO

fuzz: $(DEV) warm  ## FUZZ_CASES (100000) random patterns and streams: kernel and reference agree, or the case is shown
	$(PY) -m tests.fuzz --cases $(or $(FUZZ_CASES),100000) $(ARGS)

ask: $(DEV) warm  ## ASK_CASES (1000) new random patterns: we answer what Flink CEP itself answers (Java 17 and Maven)
	$(PY) -m tests.conformance.ask --cases $(or $(ASK_CASES),1000) $(ARGS)

chaos: $(DEV) warm  ## CHAOS_EVENTS (200000) through file, SQLite and Kafka, with kills and a stopped worker: the same alerts
	STAKEOUT_CHAOS_EVENTS=$(or $(CHAOS_EVENTS),200000) $(RUN) --only kafka,postgres -- \
		$(PY) -m pytest -s tests/chaos/test_same_alerts.py $(ARGS)

warm: $(VENV)/.project  ## compiles the kernels into the cache
	@$(WARM)

up: $(VENV)/.project warm  ## starts Kafka, Redis, Postgres, worker, sink, REST and dashboard; prints their addresses
	@STAKEOUT_KAFKA_JVM= $(PY) deploy/services.py up

down:  ## stops them and deletes their data
	@$(PYTHON) deploy/services.py down

install: $(DEV)  ## everything for development, into .venv

lock: $(DEV)  ## writes requirements/*.txt anew from pyproject.toml; UPGRADE=1 takes the newest releases
	$(COMPILE) $(if $(UPGRADE),--upgrade) --all-extras --output-file requirements/dev.txt pyproject.toml
	cp requirements/dev.txt requirements/run.txt
	$(COMPILE) --output-file requirements/run.txt pyproject.toml

clean:  ## deletes .venv, caches and outputs
	rm -rf $(VENV) build *.egg-info .stakeout .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache bench/out
	find . -name __pycache__ -prune -exec rm -rf {} +

# ---- installation -------------------------------------------------------------------------------------------------
# Each step leaves a stamp in .venv and is repeated when what it read is newer than that.

PIP := $(PY) -m pip --quiet --disable-pip-version-check

# For a lock: hashes, and nothing that tells where it was made.
COMPILE := CUSTOM_COMPILE_COMMAND='make lock' $(PY) -m piptools compile --quiet --generate-hashes --strip-extras \
	--allow-unsafe --build-deps-for editable \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options

$(VENV)/.project: pyproject.toml $(VENV)/.run
	@$(PIP) --quiet install --no-index --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.run
	@echo "Installing what Stakeout's developers need (requirements/dev.txt) …"
	@$(PIP) install --require-hashes -r $<
	@touch $@

# With setuptools from the lock, so that the project's own installation (.project) fetches nothing.
$(VENV)/.run: requirements/run.txt $(VENV)/.made
	@echo "Installing what Stakeout needs to run (requirements/run.txt) …"
	@$(PIP) install --require-hashes -r $<
	@touch $@

$(VENV)/.made:
	@command -v $(PYTHON) > /dev/null || { \
		echo "$(PYTHON) isn't on the PATH. Stakeout needs Python 3.11: 'apt-get install python3.11 python3.11-venv'" \
			"on Debian 12, or name another one: 'make PYTHON=/path/to/python3.11 …'" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
		echo "$(PYTHON) is $$($(PYTHON) --version). The pinned packages are for Python 3.11:" \
			"'make PYTHON=/path/to/python3.11 …'" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
			echo "$(PYTHON) has no venv module: installing Debian's python3.11-venv …"; \
			apt-get update -qq && apt-get install -y -qq --no-install-recommends python3.11-venv > /dev/null; \
		else \
			echo "$(PYTHON) has no venv module. On Debian: 'sudo apt-get install python3.11-venv'," \
				"then the same command again." >&2; exit 1; \
		fi; }
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@
