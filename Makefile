# `make` lists the targets. Each does all the set-up it needs, in .venv.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
ROOMS := src/dftindexd actors client cluster compat daemon index protocol systemd views
MINORS := 11 12 13
PYTEST_ARGS ?=
CRASH_CYCLES ?= 200
DISK_HISTORIES ?= 100
FUZZ_EXAMPLES ?= 2000
LOAD_SECONDS ?= 600
TEST_PROCESSES ?= 2

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# -- set-up ------------------------------------------------------------------------------------

$(BIN)/python:
	@for python in $(or $(PYTHON),python3.13 python3.12 python3.11 python3); do \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	  "$$python" -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "error: $$python cannot make virtual environments; on Debian and Ubuntu install" \
	      "its venv package: apt-get install python3-venv" >&2; exit 1; }; \
	  echo "setting up $(VENV) with $$("$$python" --version)"; \
	  exec "$$python" -m venv $(VENV); \
	done; \
	echo "error: no python >= 3.11 (tried $(or $(PYTHON),python3.13, python3.12, python3.11," \
	  "python3)); name one: make PYTHON=/path/to/python" >&2; exit 1

# A strict editable install links the source files one by one: a new or removed file needs another.
$(VENV)/sources: FORCE | $(BIN)/python
	@find $(ROOMS) -name '*.py' -o -name py.typed -o -path 'systemd/*.*' -o -name 'flame.*' | sort > $@.now
	@cmp -s $@.now $@ && rm $@.now || mv $@.now $@

$(VENV)/installed: pyproject.toml $(VENV)/sources | $(BIN)/python
	@echo "installing dftindexd and its tools into $(VENV)"
	@$(PIP) install --editable '.[dev]' --config-settings editable_mode=strict
	@# Where imports write no bytecode, each command would compile all it imports.
	@$(BIN)/python -m compileall -q "$$($(BIN)/python -P -c 'import dftindexd; print(*dftindexd.__path__)')"
	@touch $@

.PHONY: FORCE
FORCE:

.PHONY: install
install: $(VENV)/installed ## set up .venv with dftindexd (editable) and all tools

# -- use ---------------------------------------------------------------------------------------

.PHONY: demo
demo: install ## see it work: a real traced program, indexed while it runs, and queried
	@$(BIN)/dftindexd demo

.PHONY: docs
docs: install ## write the pages of commands, client, configuration and views from the code
	@$(BIN)/python -m tests.docs.reference

.PHONY: bench
bench: install ## run every benchmark and write docs/performance.md
	$(BIN)/python -m benchmarks.report

# -- checks ------------------------------------------------------------------------------------

.PHONY: test
test: install ## run all tests, TEST_PROCESSES at once (PYTEST_ARGS='tests/index -x' for some)
	@$(BIN)/pytest --quiet --numprocesses=$(TEST_PROCESSES) --dist=loadfile $(PYTEST_ARGS)

.PHONY: fuzz
fuzz: install ## run the fuzz tests with FUZZ_EXAMPLES examples each
	@DFTINDEXD_TEST_FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) \
	  $(BIN)/pytest --quiet -m fuzz --hypothesis-profile=long --timeout=0

.PHONY: crash
crash: install ## kill the daemon CRASH_CYCLES times at random moments, and look for what is lost
	@DFTINDEXD_TEST_CRASH_CYCLES=$(CRASH_CYCLES) $(BIN)/pytest --quiet -s -m crash --timeout=0

.PHONY: load
load: install ## keep a daemon busy for LOAD_SECONDS with 64 clients, and see what is left of it
	@DFTINDEXD_TEST_LOAD_SECONDS=$(LOAD_SECONDS) $(BIN)/pytest --quiet -s -m load --timeout=0

.PHONY: disk
disk: install ## change directories at random DISK_HISTORIES times, and hold each index against a cold one
	@DFTINDEXD_TEST_HISTORIES=$(DISK_HISTORIES) DFTINDEXD_TEST_BURST=20000 \
	  $(BIN)/pytest --quiet -m disk --timeout=0

.PHONY: stress
stress: install ## run the tests of hostile traces at their full sizes (takes minutes)
	@DFTINDEXD_TEST_STRESS=1 $(BIN)/pytest --quiet -m stress --timeout=0

.PHONY: analyzer
analyzer: install ## run dfanalyzer on published traces of each generation (takes minutes)
	@DFTINDEXD_TEST_ANALYZER=1 $(BIN)/pytest --quiet -s tests/parity/test_dfanalyzer.py --timeout=0

.PHONY: test-pythons
test-pythons: ## run the fast tests on every Python 3.11-3.13 that is here
	@ran=0; for minor in $(MINORS); do \
	  python=""; \
	  for found in python3.$$minor "$$(pyenv root 2>/dev/null || true)"/versions/3.$$minor.*/bin/python; do \
	    if "$$found" -c "import sys; sys.exit(sys.version_info[:2] != (3, $$minor))" 2>/dev/null; \
	    then python="$$found"; break; fi; \
	  done; \
	  if [ -z "$$python" ]; then echo "== python 3.$$minor: not here, skipped"; continue; fi; \
	  venv=$(VENV)-3.$$minor; echo "== $$("$$python" --version) in $$venv"; \
	  [ -x $$venv/bin/python ] || "$$python" -m venv $$venv; \
	  rm -rf build/lib; \
	  $$venv/bin/python -m pip --quiet install '.[dev]'; \
	  $$venv/bin/python -m pip --quiet install --force-reinstall --no-deps .; \
	  $$venv/bin/pytest --quiet -m 'not slow' $(PYTEST_ARGS); ran=$$((ran + 1)); \
	done; \
	(( ran )) || { echo "error: none of python 3.11, 3.12 and 3.13 is here" >&2; exit 1; }

.PHONY: lint
lint: install ## check style, types, imports between rooms, and the house rules
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy --strict --no-error-summary -p dftindexd
	@$(BIN)/mypy --strict --no-error-summary tests benchmarks
	@out=$$($(BIN)/lint-imports 2>&1) || { echo "$$out"; exit 1; }
	@$(BIN)/pytest --quiet tests/house/test_text_rules.py
	@echo "lint: all well"

.PHONY: format
format: install ## put the code into its format
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format --quiet .

.PHONY: wheel
wheel: install ## build a wheel into dist/
	@rm -rf build/lib
	@$(PIP) wheel --no-deps --wheel-dir dist .
	@ls dist

.PHONY: clean
clean: ## remove what make made
	rm -rf $(VENV) $(addprefix $(VENV)-3.,$(MINORS)) build dist ./*.egg-info src/*.egg-info \
	  .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
