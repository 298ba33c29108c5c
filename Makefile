# `make bench` sets up and runs the default suite, `make test` sets up and runs the tests; the others are for developers.
VENV ?= .venv
TESTERS ?= 3
PYTHON ?= python3
# Hundreds of processes import the same modules: each is compiled once, also where the surroundings forbid it.
export PYTHONDONTWRITEBYTECODE =
# Each file to one tester, in the order of the folders.
XDIST = -n $(TESTERS) --dist loadfile --no-loadscope-reorder
BIN = $(VENV)/bin
READY = $(VENV)/.ready
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt

.PHONY: bench test lint wheel coverage mutants audit clean

bench: $(READY)
	$(BIN)/python -m fedbench run --all

test: $(READY)
	$(BIN)/python -m pytest $(XDIST) --durations=15

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Line and branch coverage of fedbench/, with the processes that the tests start; fails below 90 %.
coverage: export COVERAGE_FILE = $(CURDIR)/build/coverage/data
coverage: $(READY)
	rm -rf build/coverage
	mkdir -p build/coverage
	$(BIN)/python -m coverage run -m pytest $(XDIST)
	$(BIN)/python -m coverage combine -q
	$(BIN)/python -m coverage report

# Small lies in the code, each of which some test must notice.
mutants: $(READY)
	$(BIN)/python -m tests.mutants

# What is installed: declared, used, within its ranges, free. Known vulnerabilities need a network and pip-audit.
audit: $(READY)
	$(BIN)/python -m pip check
	$(BIN)/python -m pytest tests/test_dependencies.py
	@if $(BIN)/python -c 'import pip_audit' 2>/dev/null; then $(BIN)/python -m pip_audit -r constraints.txt --no-deps; \
		else echo 'known vulnerabilities are NOT looked up: pip install pip-audit (it needs a network)'; fi

wheel: $(READY)
	$(BIN)/python -m build --wheel --no-isolation

# The environment is set up again only when what it is made from changes. Bytecode is made by all cores, not by pip, but
# for what is rarely imported; some packages bring templates that are no Python.
RARE = /(tests|testing|rllib|serve|tune|selenium|sqlalchemy|networkx|statsmodels|mypy|mypyc|pip)/
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "fedbench needs Python >= 3.11; say which with: make PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) setuptools
	$(PIP) --no-build-isolation -e '.[dev]'
	$(BIN)/python -m compileall -qq -j 0 -x '$(RARE)' $(VENV)/lib || true
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
