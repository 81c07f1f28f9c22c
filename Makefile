# make demo: from drawn X-rays to study-level AP.   make test: the tests.   Both set up .venv first.
PYTHON ?= python3
CUDA ?= 12
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready-cuda$(CUDA)

.PHONY: demo test test-all lint types bench gpu constraints clean

demo: $(READY)
	$(BIN)/cxr-engine demo

test: $(READY)
	$(BIN)/python -m pytest -m "not gpu and not slow"

test-all: $(READY)
	$(BIN)/python -m pytest --faults 200

lint: types $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The editable install maps folder X to the package cxr_engine.X; type checkers cannot follow
# the import hook that does it, so they get a tree of links.
types:
	@mkdir -p build/types/cxr_engine
	@for part in engine kernels shards trainer; do ln -sfn ../../../$$part build/types/cxr_engine/$$part; done

bench: $(READY)
	$(BIN)/python benchmarks/loader.py

gpu:
	bash benchmarks/gpu.sh

constraints: $(READY)
	for cuda in 12 13; do $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header \
	  --no-annotate --no-emit-index-url --extra cuda$$cuda --extra dev pyproject.toml -o constraints/cuda$$cuda.txt; done

$(READY): pyproject.toml constraints/cuda$(CUDA).txt
	@echo "Setting up $(VENV): needs Linux on x86-64, Python 3.11 or later with its venv module (Debian:"
	@echo "python3-venv), 10 GB of disk; fetches 4 GB of wheels (torch, DALI, CuPy) from the package index."
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" \
	  || { echo "$(PYTHON) is older than 3.11; name another one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	@test "$$(uname -sm)" = "Linux x86_64" || { echo "DALI has wheels for Linux on x86-64 only, this is $$(uname -sm)"; exit 2; }
	@rm -f $(VENV)/.ready-*
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) \
	  || { echo "python3 -m venv failed: on Debian and Ubuntu, apt install python3-venv"; rm -rf $(VENV); exit 2; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --python $(BIN)/python --constraints constraints/cuda$(CUDA).txt --editable ".[cuda$(CUDA),dev]"
	@touch $@

clean:
	rm -rf build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
