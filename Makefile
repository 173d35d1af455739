# Everything runs in .venv, which is made, and brought up to date, as needed. `make help` lists what there is.

# The interpreter: $(PYTHON), or the newest of these if it is not one that will do. "Works" means: at least 3.11,
# and able to make an environment (a shim of a version that is not there does not work, nor does Debian's python3
# without python3-venv).
PYTHON ?= python3
NEEDED := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
CHOSEN = $(firstword $(foreach python,$(PYTHON) python3.14 python3.13 python3.12 python3.11,\
	$(shell $(python) -c "$(NEEDED)" >/dev/null 2>&1 && echo $(python))))

VENV := .venv
BIN := $(VENV)/bin
# Python compiles what it imports: that is a part of what is installed.
INSTALL := install --quiet --no-compile
PIP = $(BIN)/python -m pip --disable-pip-version-check
# Strict, or mypy and editors do not see through the package-dir mapping. Each module is a link then, so that
# a new one takes another installation: the stamps depend on the list of modules.
EDITABLE := --config-settings editable_mode=strict --editable
PACKAGES := eventlog projections saver tools
CODE := $(PACKAGES) tests
# What is compiled when the packages are installed: into the folder that it is in.
COMPILED := $(wildcard $(PACKAGES:%=%/*.c))
SOURCES := $(VENV)/sources.txt

# For test-all-pythons: what is run with each version, and where versions are looked for.
CORE_TESTS := tests/conformance tests/eventlog tests/saver
PYTHONS := python3.12 python3.13 python3.14 $(wildcard $(HOME)/.pyenv/versions/3.1[2-9]*/bin/python)
# For test-encrypted: the tests that are run with a key, a random one that costs no time.
ENCRYPTED := .venv-encrypted
ENCRYPTED_TESTS := tests/hostile $(CORE_TESTS)
ENCRYPTED_KEY := $(shell printf '5e%.0s' $$(seq 32))
PYTEST_ARGS ?=
# One process for each processor.
IN_PARALLEL := -n logical --dist worksteal
# What repeats tests keeps its files in memory, if there is enough and programs may be there: `test` syncs to a disk.
IN_MEMORY := $(shell folder=/dev/shm/langgraph-eventlog-$$$$; \
	[ "$$(df -Pk /dev/shm 2>/dev/null | awk 'END {print $$4}')" -gt 4000000 ] 2>/dev/null \
	&& printf '\043!/bin/sh\n' >$$folder && chmod +x $$folder && $$folder 2>/dev/null && echo TMPDIR=/dev/shm; rm -f $$folder)
FORGETTING := -o tmp_path_retention_policy=failed
BENCH_ARGS ?=
TORTURE_ARGS ?=

.PHONY: help demo test test-encrypted bench test-all-pythons lint ruff mypy imports clean FORCE
.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1: /p' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/demo.stamp ## run agents, kill their process, resume them from the log, show what is in it
	@$(BIN)/python -m langgraph_eventlog.tools.demo $(DEMO_ARGS)

test: $(VENV)/dev.stamp ## run all tests; PYTEST_ARGS="tests/saver -x" for some, "-n 0" for one process
	@$(BIN)/python -m pytest $(IN_PARALLEL) $(PYTEST_ARGS)

test-encrypted: $(ENCRYPTED)/dev.stamp ## run the core tests with the build of apsw that can encrypt, every log encrypted
	@$(IN_MEMORY) EVENTLOG_TEST_KEY=$(ENCRYPTED_KEY) $(ENCRYPTED)/bin/python -m pytest -q -p no:cacheprovider $(FORGETTING) -n 2 -m "not slow" $(PYTEST_ARGS) $(wildcard $(ENCRYPTED_TESTS))

bench: $(VENV)/dev.stamp ## measure this saver beside LangGraph's own; BENCH_ARGS="--quick --only chat" for less
	@$(BIN)/python tests/benchmarks $(BENCH_ARGS)

torture: $(VENV)/dev.stamp ## lost power, kills, damage, fuzzing and many processes, for hours; TORTURE_ARGS="--quick" for minutes
	@$(BIN)/python tests/torture $(TORTURE_ARGS)

lint: ruff mypy imports ## check style, types and the direction of imports

ruff: $(VENV)/dev.stamp ## check style
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

mypy: $(VENV)/dev.stamp ## check types
	$(BIN)/mypy $(PACKAGES:%=-p langgraph_eventlog.%)

imports: $(VENV)/dev.stamp ## check that imports point one way
	$(BIN)/lint-imports

# A version is tested once, however it is found; one that is not there is passed over.
test-all-pythons: $(VENV)/dev.stamp ## run the core tests with every other Python that is installed
	@set -eu; done=" $$($(BIN)/python -c "$(VERSION)") "; \
	for python in $(PYTHONS); do \
		$$python -c "$(NEEDED)" >/dev/null 2>&1 || continue; \
		version=$$($$python -c "$(VERSION)"); \
		case "$$done" in *" $$version "*) continue;; esac; done="$$done$$version "; \
		echo "Python $$version:"; \
		$$python -m venv --clear --without-pip $(VENV)/$$version; \
		$(PIP) --python $(VENV)/$$version/bin/python $(INSTALL) $(EDITABLE) ".[test-core]"; \
		$(IN_MEMORY) $(VENV)/$$version/bin/python -m pytest -q -p no:cacheprovider $(FORGETTING) $(IN_PARALLEL) -m "not slow" $(wildcard $(CORE_TESTS)); \
	done
VERSION := import sys; print('%d.%d' % sys.version_info[:2])

clean: ## remove the environment and what was built
	rm -rf $(VENV) $(ENCRYPTED) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	rm -f $(PACKAGES:%=%/*.so)

$(BIN)/python:
	@test -n "$(CHOSEN)" || { echo "This takes Python 3.11 or newer, with venv (on Debian: apt install python3-venv)." >&2; exit 1; }
	@echo "Making $(VENV) with $(CHOSEN) ..."
	@$(CHOSEN) -m venv $(VENV)

# Rewritten only when a file has come or gone.
$(SOURCES): FORCE | $(BIN)/python
	@find $(PACKAGES) -name __pycache__ -prune -o -type f ! -name '*.so' -print | LC_ALL=C sort >$@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@
FORCE:

$(VENV)/demo.stamp: pyproject.toml $(SOURCES) $(COMPILED)
	@echo "Installing ..."
	@$(PIP) $(INSTALL) $(EDITABLE) ".[tools]"
	@touch $@

$(VENV)/dev.stamp: pyproject.toml $(SOURCES) $(COMPILED)
	@echo "Installing, with what tests and checks need ..."
	@$(PIP) $(INSTALL) $(EDITABLE) ".[tools,test,lint]"
	@touch $@ $(VENV)/demo.stamp

# Both builds are the module `apsw`: the one that can encrypt stands before that of $(VENV), which has the rest.
$(ENCRYPTED)/dev.stamp: $(VENV)/dev.stamp
	@echo "Making $(ENCRYPTED) ..."
	@$(BIN)/python -m venv --clear --without-pip $(ENCRYPTED)
	@$(PIP) --python $(ENCRYPTED)/bin/python $(INSTALL) "apsw-sqlite3mc>=3.50,!=3.54.0.*"
	@echo "import site; site.addsitedir('$$($(BIN)/python -c "$(PURELIB)")')" \
		>"$$($(ENCRYPTED)/bin/python -c "$(PURELIB)")/rest.pth"
	@touch $@
PURELIB := import sysconfig; print(sysconfig.get_path('purelib'))
