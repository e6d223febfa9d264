# make run    a simulated fleet on SQLite, live in the terminal (ARGS="--for 20s" passes on)
# make test   every test
# make bench  ingest against the transport's ceiling and, where installed, VictoriaMetrics and InfluxDB
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
STUBS := client

.PHONY: install run test bench lint stubs docs lock clean

install: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	touch $@

run: install
	$(BIN)/spacelink up $(ARGS)

# In the order of their names: sorted by how many tests they hold, the files of few long
# tests would come last, and leave all cores but one idle.
test: install
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder $(ARGS)

bench: install
	$(BIN)/python -m bench $(ARGS)

lint: install
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The generated code is committed, so that using the SDK needs no compiler.
stubs: install
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m grpc_tools.protoc --proto_path=proto \
		--python_out=$(STUBS) --grpc_python_out=$(STUBS) --mypy_out=$(STUBS) --mypy_grpc_out=$(STUBS) \
		$$(cd proto && find spacelink -name '*.proto' | sort)

# What docs/ holds of the contracts is committed, too.
docs: install
	$(BIN)/python docs/generate.py

# Needs uv; --universal makes one lock for every Python and platform.
lock:
	uv pip compile --universal --python-version 3.11 --extra all --extra dev --generate-hashes \
		--no-emit-index-url --no-emit-find-links --quiet \
		--custom-compile-command 'make lock' --output-file requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
