# Two commands for everyone: `make run` and `make test`. Both start from a bare clone; both are fast the second time.
PYTHON ?= python3
BIN := .venv/bin
# llama.cpp without its own programs: a third less to compile.
export CMAKE_ARGS ?= -DLLAVA_BUILD=OFF -DMTMD_BUILD=OFF -DLLAMA_BUILD_TOOLS=OFF
# uv looks for local builds where pip was told to.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
export UV_LINK_MODE ?= copy

.PHONY: run test check fast format bench demo lock clean docs
run: .venv/run.stamp
	$(BIN)/edge-agent models pull --default
	$(BIN)/edge-agent serve

test: .venv/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest

check: .venv/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -m "not slow and not big and not export" -q

format: .venv/dev.stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

demo: .venv/run.stamp
	$(BIN)/python packaging/demo.py

bench: .venv/bench.stamp
	$(BIN)/python -m tests.benchmarks

.venv/bin/uv: requirements/bootstrap.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "edge-agent needs Python 3.11 to 3.13: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	@touch $@

# Bytecode is compiled when it is installed: a start that may not write it would compile everything each time.
.venv/run.stamp: .venv/bin/uv requirements/run.txt requirements/build.txt pyproject.toml
	@echo "Installing the locked dependencies; the first time this compiles llama.cpp (some minutes)."
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements/run.txt -r requirements/build.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -q edge_agent cloud_bridge quantize
	@touch $@

.venv/dev.stamp: .venv/run.stamp requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements/dev.txt
	@touch $@

.venv/bench.stamp: .venv/dev.stamp requirements/bench.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/bench.txt
	@touch $@

# Each environment is locked by hash, without naming any registry's host.
LOCK := uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --python-version 3.11
lock:
	$(LOCK) pyproject.toml -o requirements/run.txt
	$(LOCK) pyproject.toml --extra mlx --group dev -o requirements/dev.txt
	$(LOCK) pyproject.toml --extra mlx -o requirements/mlx.txt
	$(LOCK) --group pyproject.toml:bench -o requirements/bench.txt
	$(LOCK) --group pyproject.toml:export --override requirements/without-torch.txt -o requirements/export.txt
	echo 'sentencepiece' | $(LOCK) - -o requirements/convert.txt
	echo 'uv' | $(LOCK) - -c requirements/dev.txt -o requirements/bootstrap.txt
	printf 'hatchling==1.27.0\neditables\n' | $(LOCK) - -c requirements/dev.txt -o requirements/build.txt

clean:
	rm -rf .venv .venv-export build dist
