# The two commands of a newcomer: `make demo` and `make test`. Each sets up .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Two processes test on two cores: with several threads each they would wait for one another.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2
DISTRIBUTIONS := . $(sort $(wildcard plugins/*))
PROJECTS := $(DISTRIBUTIONS:%=%/pyproject.toml)

.PHONY: demo test test-long check docs results install

demo: install
	$(BIN)/ssl-registry demo

test: check
	$(PYTEST) --dist loadfile -m "not long"

test-long: install
	$(PYTEST) --dist worksteal -m long -rs  # says what was not tried, and why

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

results:
	$(PYTHON) scripts/list_results.py

docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

install: $(VENV)/installed

$(VENV)/installed: requirements-dev.txt $(PROJECTS)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt $(DISTRIBUTIONS:%=--editable %)
	touch $@
