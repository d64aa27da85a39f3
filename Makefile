# Sets up and runs Hermes Gateway with git, make, Python 3.11 or newer, and a package index.
#
# Everything is installed into $(VENV) by pip, from the hashed exports of uv.lock in requirements/, through
# whichever index pip is set up for. A stamp is written only after its step has succeeded, so an interrupted
# install is taken up again, a second `make run` starts at once, and a changed export is installed anew.
# The installer's progress goes to standard error, and so does its log if it fails: standard output belongs to
# the command that was asked for.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules --no-print-directory

VENV := .venv
WORKERS ?= 2
ARGS :=

PY := $(VENV)/bin/python
PIP_INSTALL = $(PY) -m pip install --quiet --disable-pip-version-check --no-input --no-deps
# The exports name every package there is, so pip resolves nothing and checks each archive against its hash.
LOCKED_INSTALL = $(PIP_INSTALL) --require-hashes -r
LOG = $(VENV)/install.log
LOGGED = > $(LOG) 2>&1 < /dev/null
SHOW_LOG = { cat $(LOG) >&2; \
    echo 'Not installed: the lines above say why. The same command goes on from here.' >&2; exit 1; }
INSTALLED := $(VENV)/.installed-
APP := $(INSTALLED)app
LOCAL := $(INSTALLED)local
TEST := $(APP) $(LOCAL) $(INSTALLED)test

# A model that could not be installed is a fault of the moment, and no reason to leave out what it would have tested.
LOCAL_LOG := $(VENV)/install-local.log
MODEL_SETTLED = [ -e $(LOCAL) ] || { tail -n 5 $(LOCAL_LOG) >&2; \
    echo 'Not tested: the small local model could not be installed ($(LOCAL_LOG) says why).' \
        'The same command tries again.' >&2; exit 1; }

export UV_PYTHON_DOWNLOADS := never

.PHONY: help run test test-system test-long crash soak bench bench-peer lint audit format lock exports docs wheel \
    build local clean FORCE

help:  ## list the targets
	@echo 'Hermes Gateway. `make run` opens a chat; the rest is for working on it:'
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/  \1	\2/p' Makefile | awk -F '\t' '{ printf "%-14s%s\n", $$1, $$2 }'
	@echo
	@echo '  ARGS="…"          hand arguments on:  make run ARGS="run --config my.yaml"'
	@echo '  PYTHON=…          the Python to set up with (3.11 or newer)'
	@echo '  WORKERS=…         test processes ($(WORKERS)); 0 runs the tests in one, for a debugger'

run: $(APP) $(LOCAL)  ## open a terminal chat, or run the command line in ARGS
	@exec $(PY) hermes_gateway.py $(if $(ARGS),$(ARGS),chat)

test: $(TEST)  ## run every test that this machine can run
	@$(MODEL_SETTLED)
	@exec $(PY) -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

test-system: $(TEST)  ## the same, and a missing system tool or model fails instead of skipping
	@$(MODEL_SETTLED)
	@HERMES_GATEWAY_REQUIRE_SYSTEM=1 exec $(PY) -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

test-long: $(TEST)  ## the same, with the full counts of the long tests
	@$(MODEL_SETTLED)
	@HERMES_GATEWAY_TEST_LONG=1 HERMES_CRASH_KILLS=500 exec $(PY) -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

crash: $(TEST)  ## kill the gateway 500 times and look for anything lost or repeated
	@HERMES_GATEWAY_TEST_KEEP=1 HERMES_CRASH_KILLS=500 exec $(PY) -m pytest tests/crash $(ARGS)

soak: $(TEST)  ## run the gateway under load for an hour (HERMES_SOAK_SECONDS=… for another time)
	@HERMES_GATEWAY_TEST_KEEP=1 HERMES_SOAK_SECONDS=$(or $(HERMES_SOAK_SECONDS),3600) exec $(PY) -m pytest tests/soak $(ARGS)

bench: $(TEST)  ## run the benchmarks
	@exec $(PY) -m bench $(ARGS)

bench-peer: $(TEST)  ## measure the gateway beside another one
	@exec $(PY) -m bench.peer $(ARGS)

lint: $(TEST) $(INSTALLED)lint  ## check style and types
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

# A package that could not be looked up counts as a failure of the audit, not as a package without faults.
AUDIT = $(PY) -m pip_audit --disable-pip --require-hashes --strict --progress-spinner off $(ARGS) -r
AUDIT_LOG := $(VENV)/audit.log

audit: $(INSTALLED)lint  ## look for known vulnerabilities of the dependencies (ARGS="-s osv": in another list)
	@status=0; \
	for group in base local; do \
	    file=requirements/$$group.txt; \
	    if found=$$($(AUDIT) $$file 2> $(AUDIT_LOG) < /dev/null); then \
	        echo "$$file: no known vulnerabilities"; \
	    elif [ -n "$$found" ]; then \
	        printf '%s: these have known vulnerabilities; a newer lock may help: make lock ARGS=--upgrade\n%s\n' \
	            "$$file" "$$found" >&2; \
	        status=1; \
	    else \
	        tail -n 1 $(AUDIT_LOG) >&2; \
	        echo "$$file: not audited. Is pypi.org to be reached, and not just a mirror without its list of" \
	            "vulnerabilities? ($(AUDIT_LOG) says more.) The same command tries again." >&2; \
	        status=2; break; \
	    fi; \
	done; exit $$status

format: $(INSTALLED)lint  ## put the code into the house's format
	@$(PY) -m ruff check --fix-only .
	@$(PY) -m ruff format .

# With UV=… that uv is used and nothing is installed first.
ifdef UV
UV_READY :=
else
UV := $(VENV)/bin/uv
UV_READY := $(INSTALLED)lint
endif

lock: $(UV_READY)  ## resolve pyproject.toml into uv.lock and requirements/ (ARGS=--upgrade for newer versions)
	@$(UV) lock $(ARGS)
	@$(MAKE) exports UV='$(UV)'

EXPORTS ?= requirements
exports: $(UV_READY)  ## write requirements/ from uv.lock as it is
	@set -e; mkdir -p '$(EXPORTS)'; \
	for group in base local build test lint; do \
	    if [ $$group = base ]; then select=--no-default-groups; else select="--only-group $$group"; fi; \
	    file='$(EXPORTS)'/$$group.txt; \
	    echo '# Exported from uv.lock by `make lock`: not to be edited by hand.' > "$$file.new"; \
	    $(UV) export --quiet --frozen --no-emit-project --no-header $$select >> "$$file.new"; \
	    mv "$$file.new" "$$file"; \
	done

docs: $(APP)  ## write the configuration reference
	@exec $(PY) -m config.reference $(ARGS)

wheel: $(INSTALLED)build  ## build the wheel into dist/
	@$(PY) -m hatchling build -t wheel

build: $(INSTALLED)build  ## build the source archive and the wheel into dist/
	@$(PY) -m hatchling build

local: $(LOCAL)  ## install the small model that the chat answers with
	@:

clean:  ## remove everything that make made
	rm -rf $(VENV) dist .hypothesis .mypy_cache .pytest_cache .ruff_cache .coverage htmlcov
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the environment ------------------------------------------------------------------------------------

# An environment holds absolute paths: one that was copied or moved here, whose interpreter is gone, or that
# another interpreter than PYTHON made, is made anew.
SAME_PYTHON = import sys; print(sys.base_prefix, sys.version)
VENV_STALE := $(shell \
    [ -x $(PY) ] && [ "$$(cat $(VENV)/.made-in 2>&1)" = "$(CURDIR)" ] \
    $(if $(PYTHON),&& [ "$$($(PYTHON) -c '$(SAME_PYTHON)' 2>&1)" = "$$($(PY) -c '$(SAME_PYTHON)' 2>&1)" ]) \
    || echo stale)

CANDIDATES := $(if $(PYTHON),$(PYTHON),python3 python3.14 python3.13 python3.12 python3.11)
SUITABLE = import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))

# That of another checkout, which VENV=… names, is that one's to make anew.
OF_ANOTHER = [ -e $@ ] && [ "$$(cat $@)" != '$(CURDIR)' ] && [ -d "$$(cat $@)" ] && \
    case '$(abspath $(VENV))/' in '$(CURDIR)'/*) false;; esac

$(VENV)/.made-in: $(if $(VENV_STALE),FORCE)
	@set -e; \
	if $(OF_ANOTHER); then \
	    echo "$(VENV) is the environment of $$(cat $@): name another folder with VENV=…, or none." >&2; \
	    exit 1; \
	fi; \
	if [ ! -e $@ ] && [ ! -e $(VENV)/.making ] && [ -z '$(PYTHON)' ] && $(PY) -c '$(SUITABLE)' 2> /dev/null; then \
	    $(PY) -m pip --version > /dev/null 2>&1 || $(PY) -m ensurepip > /dev/null; \
	else \
	    python=; \
	    for candidate in $(CANDIDATES); do \
	        if "$$candidate" -c '$(SUITABLE)' 2> /dev/null; then python=$$candidate; break; fi; \
	    done; \
	    if [ -z "$$python" ]; then \
	        echo 'Hermes Gateway needs Python 3.11 or newer with its venv module; tried: $(CANDIDATES).' >&2; \
	        echo 'Install one (Debian, Ubuntu: apt-get install python3 python3-venv),' \
	            'or name it: make run PYTHON=/path/to/python3' >&2; \
	        exit 1; \
	    fi; \
	    echo 'Installing into $(VENV) with' "$$($$python -V)" '(first time only, about a minute) …' >&2; \
	    rm -rf $(VENV); mkdir -p $(VENV); touch $(VENV)/.making; \
	    "$$python" -m venv $(VENV) >&2 < /dev/null; \
	    rm $(VENV)/.making; \
	fi; \
	printf '%s\n' "$(CURDIR)" > $@

$(INSTALLED)%: requirements/%.txt $(VENV)/.made-in
	@echo '  $* packages …' >&2
	@$(LOCKED_INSTALL) $< $(LOGGED) || $(SHOW_LOG)
	@touch $@

# Never compiled here, which takes twenty minutes: a machine that no ready-made build exists for chats without
# it, and is not asked again until the export changes. Any other failure is tried again the next time.
$(LOCAL): LOG = $(LOCAL_LOG)
$(LOCAL): requirements/local.txt $(VENV)/.made-in
	@echo '  local model, about 220 MB …' >&2
	@if $(LOCKED_INSTALL) $< --only-binary :all: $(LOGGED); then touch $@; \
	elif grep -q 'No matching distribution' $(LOG) && ! grep -qi 'retrying' $(LOG); then \
	    echo '  The small local model has no build for this machine: the chat answers with the echo agent.' >&2; \
	    touch $@; \
	else \
	    echo '  The small local model could not be installed ($(LOG) says why):' \
	        'the chat answers with the echo agent.' >&2; \
	fi

$(APP): pyproject.toml $(INSTALLED)base $(INSTALLED)build
	@$(PIP_INSTALL) --no-build-isolation -e . $(LOGGED) || $(SHOW_LOG)
	@touch $@

FORCE:
