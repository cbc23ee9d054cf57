# Two commands matter: `make run` opens the app, `make test` runs everything that must pass. Both make .venv first, can
# be run again at any time, and pick up where they were if they were killed half-way.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test check bench fix notebooks demos clean help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

run: $(VENV)/run.stamp  ## open the app in a browser (loopback only)
	$(BIN)/streamlit run streamlit_app.py

test: $(VENV)/dev.stamp  ## run the tests
	$(BIN)/python -m pytest -n auto $(PYTEST)

check: $(VENV)/dev.stamp  ## ruff and mypy, then the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict core
	$(MAKE) test

fix: $(VENV)/dev.stamp  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/dev.stamp  ## run the benchmarks; results go to benchmarks/results
	for name in spectra allocation app; do $(BIN)/python -m benchmarks.$$name || exit 1; done

demos: $(VENV)/run.stamp  ## train the embedded demos again
	$(BIN)/python -m core train-demo all

notebooks: $(VENV)/dev.stamp  ## run the notebooks, with outputs, into build/notebooks
	$(BIN)/python -m notebooks.build

clean:  ## remove the environment and caches
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache

# A stamp is written only after its install has succeeded, so an interrupted one is taken up again.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Rankscope needs Python 3.11 or newer: make PYTHON=python3.12 run"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python's venv module is missing; on Debian: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install -q -r requirements.txt
	@touch $@

$(VENV)/dev.stamp: requirements.txt requirements-dev.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install -q -r requirements-dev.txt
	@touch $@ $(VENV)/run.stamp
