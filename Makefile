PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
STUBS := client

.PHONY: help install run test bench lint stubs docs lock clean

help:  ## this list (ARGS="..." passes on to run, test and bench)
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

install: $(VENV)/.installed  ## what all others need, into .venv

$(VENV)/.installed: requirements.lock pyproject.toml
	@echo "installing into $(VENV), about a minute"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	touch $@

run: install  ## a server and a simulated fleet on SQLite, live in the terminal
	$(BIN)/spacelink up $(ARGS)

# In the order of their names: sorted by how many tests they hold, the files of few long
# tests would come last, and leave all cores but one idle.
test: install  ## every test
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder $(ARGS)

bench: install  ## ingest against the transport's ceiling and, where installed, VictoriaMetrics and InfluxDB
	$(BIN)/python -m bench $(ARGS)

lint: install  ## style, types and contracts
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The generated code is committed, so that using the SDK needs no compiler.
stubs: install  ## the code that is generated from proto/
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m grpc_tools.protoc --proto_path=proto \
		--python_out=$(STUBS) --grpc_python_out=$(STUBS) --mypy_out=$(STUBS) --mypy_grpc_out=$(STUBS) \
		$$(cd proto && find spacelink -name '*.proto' | sort)

# What docs/ holds of the contracts is committed, too.
docs: install  ## the documents that are generated from the contracts
	$(BIN)/python docs/generate.py

# Needs uv; --universal makes one lock for every Python and platform.
lock:  ## the versions that install takes
	uv pip compile --universal --python-version 3.11 --extra all --extra dev --generate-hashes \
		--no-emit-index-url --no-emit-find-links --quiet \
		--custom-compile-command 'make lock' --output-file requirements.lock pyproject.toml

clean:  ## remove what all others made
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
