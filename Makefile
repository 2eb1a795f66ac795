# Targets for people; `make` alone lists them. Works with GNU make 3.81 and later.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo serve test fuzz soak cluster-test interop parity bench bench-peer eval lint types check format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(READY) ## make .venv with everything in it; again only when pyproject.toml changes

$(READY): pyproject.toml
	@[ -x $(BIN)/python ] || "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, and $(PYTHON) is not: run, for example, make setup PYTHON=python3.12" >&2; exit 1; }
	@echo "setting up $(VENV): a minute, and only once" >&2
	@if command -v uv >/dev/null 2>&1; then \
	  { [ -x $(BIN)/python ] || uv venv --quiet --python "$(PYTHON)" $(VENV); } && \
	  uv pip install --quiet --python $(BIN)/python -e '.[dev]'; \
	else \
	  { [ -x $(BIN)/python ] || "$(PYTHON)" -m venv $(VENV); } && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'; \
	fi
	@touch $@

# The words go through the environment as they were typed: no shell and no make ever reads quotes or dollar signs in them.
unexport PROMPT EDIT PROVIDER HOME_DIR
demo: export APP_SERVER_DEMO_PROMPT = $(value PROMPT)
demo: export APP_SERVER_DEMO_EDIT = $(value EDIT)
demo: export APP_SERVER_DEMO_PROVIDER = $(value PROVIDER)
demo: export APP_SERVER_DEMO_HOME = $(value HOME_DIR)
demo: $(READY) ## make a picture, offline: PROMPT="…", EDIT="…" for the newest one, PROVIDER=…, HOME_DIR=…
	@$(BIN)/app-server demo

serve: $(READY) ## serve on standard input and output, as clients start it
	@$(BIN)/app-server serve

test: $(READY) ## run the whole test suite
	@$(BIN)/pytest

# Not for `make test`, which plays the same short fuzz each time.
unexport FUZZ_SECONDS
FUZZ_SECONDS ?= 600
fuzz: $(READY) ## send new bad input for FUZZ_SECONDS (600); what fails is shown with its seed
	@FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/pytest tests/fuzz

unexport SOAK_SECONDS
SOAK_SECONDS ?= 1800
soak: $(READY) ## a mixed load on real servers for SOAK_SECONDS (1800); fails when memory, files, tasks or threads grow
	@SOAK_SECONDS=$(SOAK_SECONDS) $(BIN)/python -m tests.soak

cluster-test: $(READY) ## kill, stop and drain replicas under load for CLUSTER_SECONDS (120); needs PostgreSQL on this machine
	@$(BIN)/python -m tests.cluster

interop: $(READY) ## run real clients against the server; needs the conformance kit: INTEROP="--only tui"
	@$(BIN)/python -m tests.interop.run $(INTEROP)

parity: $(READY) ## hold the server against the recorded reference; needs the kit: PARITY="--scenario handshake"
	@$(BIN)/python -m tests.parity.compared $(PARITY)

bench: $(READY) ## measure speed and memory of this server, two minutes: BENCH="--rows P8,P10"
	@$(BIN)/python -m benchmarks --json build/bench.json $(BENCH)

bench-peer: $(READY) ## the same beside the reference server, in turn, a quarter of an hour; gets it once, from the kit or npm
	@$(BIN)/python -m benchmarks --peer --json build/bench-peer.json $(BENCH)

eval: $(READY) ## compare both picture tools at a real provider; needs OPENAI_API_KEY and costs money: EVAL="--help"
	@$(BIN)/python -m tests.evals.image_paths $(EVAL)

lint: $(READY) ## check format and lint
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

types: $(READY) ## check types
	@$(BIN)/mypy

check: lint types test ## format, lint, types and tests

format: $(READY) ## rewrite the code in the house format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean: ## remove .venv, builds and caches; the pictures in .demo stay
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find app_server extensions features benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +
