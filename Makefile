# make demo      the whole pipeline on the embedded world, about five minutes
# make test      the quick tests, for every change
# make test-all  all tests, and the campaign: what CI runs
# make campaign  kills, damages, hostile files and arguments: minutes of them
# Each makes the virtual environment first; Python 3.11 or newer and make are all they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
OUT ?= demo-out

.PHONY: help demo test test-all campaign lint wheel clean

help:
	@sed -n 's/^# //p' Makefile

demo: $(INSTALLED)
	$(BIN)/regionspot demo --out $(OUT)

# Tests start many processes. Each may keep what it compiles, and computes in one thread: two
# processes whose threads wait for each other take most of the time.
unexport PYTHONDONTWRITEBYTECODE
test test-all campaign: export OMP_NUM_THREADS := 1
# A file's tests stay together, for their fixtures; files with slow tests come first.
BY_FILE := -n 2 --dist loadfile --no-loadscope-reorder

test: $(INSTALLED)
	$(BIN)/pytest $(BY_FILE) -m "not slow"

test-all: $(INSTALLED)
	$(BIN)/pytest $(BY_FILE) --size ci --durations 25

campaign: $(INSTALLED)
	$(BIN)/pytest -n 2 tests/campaign --size ci

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

wheel: $(INSTALLED)
	rm -rf dist
	$(BIN)/python -m build --wheel --installer uv

# uv installs torch's gigabytes in seconds; it is taken into the environment, not the machine.
# torch and torchvision must come from one place together: they are built for each other.
# Compiled once here, PyTorch loads at once where Python may not write its compiled files.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --compile-bytecode --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) dist $(OUT)
