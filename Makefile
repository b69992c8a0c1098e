# `make chat` and `make test` set up all that they need from python3, make and git.
# A second run starts at once: a stamp in the environment says what is installed.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
MODEL ?= spark
SETUP_LOG := $(VENV)/setup.log

.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help chat serve test test-slow conformance lint format bench bubblewrap clean

help:
	@echo "make chat        talk to a model in the terminal (MODEL=$(MODEL))"
	@echo "make serve       serve it with OpenAI's API on port 8000"
	@echo "make test        lint, types, layers and tests"
	@echo "make test-slow   the tests that take minutes"
	@echo "make conformance two public checkers of OpenAI's APIs against the server (needs node)"
	@echo "make bench       measure the engine on this machine"
	@echo "make format      let ruff format and mend the sources"
	@echo "make clean       remove the environment and all caches of this folder"

chat: $(VENV)/ready
	@$(BIN)/fulmen chat $(MODEL)

serve: $(VENV)/ready
	@$(BIN)/fulmen serve $(MODEL)

bench: $(VENV)/ready
	@$(BIN)/fulmen bench $(MODEL)

# All checks run, whichever fails, and pytest's summary comes last. Two workers of one thread each are faster than one
# of two: most tensors here are too small to share.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
test: $(VENV)/ready-dev bubblewrap
	@status=0; \
	$(MAKE) --no-print-directory lint || status=1; \
	$(BIN)/fulmen pull smollm2-135m && $(PYTEST) --numprocesses 2 || status=1; \
	exit $$status

test-slow: $(VENV)/ready-dev bubblewrap
	@$(BIN)/fulmen pull smollm2-135m
	@$(PYTEST) -m slow

# compatcanary depends on no other package, so its version pins all that is run.
COMPATCANARY := compatcanary@0.2.2
CANARY := $(VENV)/$(COMPATCANARY)

conformance: $(VENV)/ready-dev $(CANARY)/ready
	@$(BIN)/fulmen pull smollm2-135m
	@$(BIN)/python tests/server/conformance.py $(CANARY)/node_modules/compatcanary/src/cli.js

$(CANARY)/ready: | $(BIN)/pip
	@node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' < /dev/null 2> /dev/null && \
	  npm --version > /dev/null 2>&1 || { \
	  echo "make conformance needs node 20 or newer, and npm. On Debian and Ubuntu: apt install npm" >&2; exit 1; }
	@npm install --prefix $(CANARY) --cache $(VENV)/npm-cache --ignore-scripts --no-audit --no-fund --no-save \
	  --no-update-notifier $(COMPATCANARY) < /dev/null > $(VENV)/npm.log 2>&1 || { cat $(VENV)/npm.log >&2; exit 1; }
	@touch $@

lint: $(VENV)/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy src
	$(BIN)/lint-imports

format: $(VENV)/ready-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Setup speaks on stderr and leaves stdin alone, so that `echo question | make -s chat` prints the reply only.

# Debian's package of the sandbox in which untrusted code runs (docs/sandbox.md); root gets it installed.
bubblewrap: | $(BIN)/pip
	@command -v bwrap > /dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
	    echo "Installing bubblewrap, the sandbox for untrusted code" >&2; \
	    { apt-get update && apt-get install --yes -o DPkg::Lock::Timeout=600 bubblewrap; } \
	      < /dev/null > $(VENV)/bubblewrap.log 2>&1 || { tail -n 5 $(VENV)/bubblewrap.log >&2; exit 1; }; \
	  else \
	    echo "bubblewrap is missing, so tests of the sandbox are skipped: apt install bubblewrap, as root" >&2; \
	  fi; }

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' < /dev/null || { \
	  echo "Fulmen needs Python 3.11 or newer: install it, or name one with make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) < /dev/null >&2 || { rm -rf $(VENV); \
	  echo "No virtual environment could be made. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

$(VENV)/ready: PACKAGE := .[agents]
$(VENV)/ready-dev: PACKAGE := .[dev]
$(VENV)/ready $(VENV)/ready-dev: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing Fulmen and what it needs into $(VENV); the first time takes a few minutes" >&2
	@compiler=$$(command -v c++ || command -v g++ || command -v clang++ || echo ziglang); \
	case $$compiler in /*) compiler= ;; esac; \
	$(BIN)/python -m pip install --constraint constraints.txt --editable "$(PACKAGE)" $$compiler \
	  < /dev/null > $(SETUP_LOG) 2>&1 || { tail -n 20 $(SETUP_LOG) >&2; \
	  echo "The installation failed; the whole log is in $(SETUP_LOG)" >&2; exit 1; }
	@touch $@
