# Everything starts here: `make demo`, `make test`. Both build .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := $(VENV)/peers

.PHONY: demo test lint clean

# From nothing: what is no longer wanted must go.
$(VENV)/.installed: Makefile pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[data,train,eval,finetune,export,formats,dev,references]'
	touch $@

# open_clip, timm and torchvision, with which some tests compare: they spoil what they lie beside.
$(PEERS)/.installed: $(VENV)/.installed tests/peers/install.sh tests/peers/torchvision_operators.py
	tests/peers/install.sh $(VENV)

demo: $(VENV)/.installed
	$(BIN)/python examples/demo.py

lint: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

test: lint $(PEERS)/.installed
	$(BIN)/pytest -n 2 --dist loadfile
	$(PEERS)/bin/python -m pytest -n 2 --dist loadfile

clean:
	rm -rf $(VENV) build dist *.egg-info
