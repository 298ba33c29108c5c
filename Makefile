# Two commands: `make bench` sets up and runs the default suite, `make test` sets up and runs the tests.
VENV ?= .venv
TESTERS ?= 2
PYTHON ?= python3
BIN = $(VENV)/bin
READY = $(VENV)/.ready

.PHONY: bench test lint wheel clean

bench: $(READY)
	$(BIN)/python -m fedbench run --all

test: $(READY)
	$(BIN)/python -m pytest -n $(TESTERS) --dist loadfile --durations=15

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

wheel: $(READY)
	$(BIN)/python -m build --wheel --no-isolation

# The environment is set up again only when what it is made from changes.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "fedbench needs Python >= 3.11; say which with: make PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt setuptools
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
