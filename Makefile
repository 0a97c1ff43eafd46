# Two commands on a fresh machine: `make demo` and `make test`. Both make .venv first, with locked dependencies.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: help demo test test-slow test-cluster fuzz check format lint types contract bench lock clean
help:            ## list the targets
	@grep -E '^[a-z-]+: .*##|^[a-z-]+:  *##' $(MAKEFILE_LIST) | sed 's/:.*##/ —/'

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; ok = sys.version_info >= (3, 11); sys.exit(0 if ok else "va-search needs Python 3.11 or newer; " + sys.executable + " is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 demo")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,cluster,extract]'
	@touch $@

demo: $(VENV)/.ready            ## the whole job on a simulated challenge: about a minute on 2 cores, after the install
	$(BIN)/va-search demo

test: $(VENV)/.ready            ## the tests that take minutes in all, on all cores
	$(BIN)/pytest --numprocesses auto --maxprocesses 8 --dist loadscope

SLOW := -m 'slow or browser or postgres' --timeout 900
test-slow: $(VENV)/.ready       ## the slow ones: real searches, kills, a browser; two files at a time, what failed once more alone
	$(BIN)/pytest $(SLOW) --numprocesses 2 --dist loadfile || \
	$(BIN)/pytest $(SLOW) --last-failed --last-failed-no-failures none

test-cluster: $(VENV)/.ready    ## `ray up` and SLURM on hosts in network namespaces; needs root, iproute2, openssh-server, rsync, slurm-wlm, munge
	$(BIN)/pytest -m cluster --timeout 900

fuzz: $(VENV)/.ready            ## malformed files through every reader of what users hand in, a quarter of an hour (FUZZ=--help)
	cd benchmarks && ../$(BIN)/python -m fuzz $(FUZZ)

format: $(VENV)/.ready          ## put the code in its format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(VENV)/.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.ready
	$(BIN)/mypy

contract: $(VENV)/.ready
	$(BIN)/lint-imports

check: lint types contract test ## format, lint, types, import contract, tests

bench: $(VENV)/.ready           ## training speed, as in docs/results.md
	$(BIN)/python benchmarks/training.py

lock: $(VENV)/.ready            ## write constraints.txt from what is installed here
	@{ sed '/^[^#]/,$$d' constraints.txt; $(BIN)/pip freeze --exclude-editable | sed 's/+cpu$$//'; } > constraints.new
	@mv constraints.new constraints.txt

clean:           ## remove what was built, never a home or a store
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
