# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PLUGINS := $(wildcard plugins/eegfound-*)
JOBS ?= 2

.PHONY: demo test test-slow docs lint benchmarks clean

# The table of the README: foundation features beside Riemann on bundled EEG.
demo: $(VENV)/.installed
	$(BIN)/python examples/demo.py

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n $(JOBS) -m "not slow"

test-slow: $(VENV)/.installed
	$(BIN)/python -m pytest -n $(JOBS) -m slow

docs: $(VENV)/.installed
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

lint: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -c constraints.txt ruff mypy
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy
	$(BIN)/mypy $(foreach p,$(PLUGINS),$(p)/$(subst -,_,$(notdir $(p))))

benchmarks: $(VENV)/.installed
	$(BIN)/python benchmarks/bench_features.py
	$(BIN)/python benchmarks/bench_models.py
	$(BIN)/python benchmarks/bench_encoding.py
	$(BIN)/python benchmarks/bench_finetune.py
	$(BIN)/python benchmarks/bench_latency.py
	$(BIN)/python benchmarks/bench_scaling.py
	$(BIN)/python benchmarks/bench_cache.py

$(VENV)/.installed: pyproject.toml constraints.txt $(PLUGINS:=/pyproject.toml)
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed: make PYTHON=python3.12 …"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[test,docs]" $(PLUGINS:%=-e %)
	touch $@

clean:
	rm -rf $(VENV) build dist docs/_build docs/api/generated .pytest_cache .ruff_cache .mypy_cache
