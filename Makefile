# Everything starts here: `make demo`, `make test`. Both build .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint clean

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[data,train,eval,finetune,export,openvino,dev,references]'
	# References whose own needs stay out: torchvision's would be torch for another device. With
	# triton, kernels for GPUs are tested in its interpreter.
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps \
		open_clip_torch timm torchvision triton
	touch $@

demo: $(VENV)/.installed
	$(BIN)/python examples/demo.py

lint: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

test: lint
	$(BIN)/pytest -n 2 --dist loadfile

clean:
	rm -rf $(VENV) build dist *.egg-info
