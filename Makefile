# `make` lists the targets. Each makes the environment it needs, in $(VENV),
# again whenever setup.cfg has changed.

VENV ?= .venv
PLAIN := $(VENV)-plain
OLDEST := $(VENV)-oldest
BIN := $(VENV)/bin
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	2>/dev/null && echo $$python && break; done)
PIP_INSTALL := -m pip --disable-pip-version-check install
INSTALL_WHEELS := $(PIP_INSTALL) --require-hashes --no-deps

# Else pyright asks the network whether there is a newer one.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.PHONY: help demo test test-all check golden

help:
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' $(MAKEFILE_LIST)

demo: $(VENV)/demo.stamp ## the whole journey; SENTENCES='"a fine film" "a bore"'
	$(BIN)/python examples/demo.py $(DEMO_ARGS) $(SENTENCES)

# Processes take 2 GB each, and more than four have little to do. A slow test
# takes more, in processes that it starts.
TEST_PROCESSES := -n auto --maxprocesses=4 --dist=worksteal
test: check ## lint, types and all tests but the slow ones
	$(BIN)/python -m pytest $(TEST_PROCESSES)

test-all: test $(PLAIN)/plain.stamp $(OLDEST)/oldest.stamp ## and slow ones (DATA_DIR=...), and what a plain install gets
	$(BIN)/python -m pytest -m slow -n auto --maxprocesses=2 \
		--dist=worksteal --oldest_server=$(OLDEST)/bin/python \
		$(if $(DATA_DIR),--data_dir=$(DATA_DIR))
	$(PLAIN)/bin/python -m pytest $(TEST_PROCESSES)

check: $(VENV)/dev.stamp ## lint and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright --pythonpath $(BIN)/python

golden: $(VENV)/dev.stamp ## rewrite tests/golden/; CHANGELOG.md says why
	$(BIN)/python -m pytest --write-golden

# The demo does without what only tests need, such as PyTorch.
$(VENV)/demo.stamp: setup.cfg examples/wheels.txt | $(BIN)/pip
	$(BIN)/python $(PIP_INSTALL) -e '.[demo]'
	$(BIN)/python $(INSTALL_WHEELS) -r examples/wheels.txt
	touch $@

$(VENV)/dev.stamp: setup.cfg examples/wheels.txt tests/wheels.txt | $(BIN)/pip
	$(BIN)/python $(PIP_INSTALL) -e '.[dev]'
	$(BIN)/python $(INSTALL_WHEELS) -r examples/wheels.txt -r tests/wheels.txt
	touch $(VENV)/demo.stamp $@

$(PLAIN)/plain.stamp: setup.cfg examples/wheels.txt | $(PLAIN)/bin/pip
	$(PLAIN)/bin/python $(PIP_INSTALL) -e . pytest pytest-xdist
	$(PLAIN)/bin/python $(INSTALL_WHEELS) -r examples/wheels.txt
	touch $@

$(OLDEST)/oldest.stamp: tests/oldest.txt
	python3.11 -m venv $(OLDEST)
	$(OLDEST)/bin/python $(PIP_INSTALL) --no-deps -r tests/oldest.txt
	touch $@

%/bin/pip:
	@test -n "$(PYTHON)" || { echo "Python 3.11 to 3.13 not found;" \
		"name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $*
