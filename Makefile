# Two commands do everything on a fresh machine:  make demo  and  make test
# Python >= 3.11 and make are needed; PYTHON=... names another interpreter.

PYTHON ?= python3
EXTRAS ?= dev
VENV := .venv
BIN := $(VENV)/bin
# One mark for each set of extras, so that asking for more of them installs more.
comma := ,
READY := $(VENV)/.ready
READY_EXTRAS := $(VENV)/.ready-$(subst $(comma),-,$(EXTRAS))

FACES ?= ../shared/data/faces
OUT ?= out/demo
MINUTES ?= 4

.PHONY: help demo test lint format bench wheel clean

help:
	@echo "make demo     swap the faces of two short clips: OUT=$(OUT) MINUTES=$(MINUTES) FACES=$(FACES)"
	@echo "make test     all tests (EXTRAS=dev,oracle also compares with PyTorch)"
	@echo "make lint     ruff: rules and format;  make format  puts the format right"
	@echo "make bench    the figures that the README quotes"
	@echo "make wheel    the package, into dist/"
	@echo "make clean    removes $(VENV), dist, build and caches; out/ stays"

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, and $(PYTHON) is older; try make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(READY): pyproject.toml $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(READY_EXTRAS): pyproject.toml $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[$(EXTRAS)]"
	@touch $@ $(READY)

demo: $(READY)
	@test -f $(FACES)/franck.mp4 -a -f $(FACES)/cap13_edit2.mp4 || \
	  { echo "make demo needs two clips: $(FACES)/franck.mp4 and $(FACES)/cap13_edit2.mp4 (or FACES=folder);"; \
	    echo "with videos of your own: $(BIN)/swap run --a A.mp4 --b B.mp4 --out out/mine --minutes 15"; exit 2; }
	$(BIN)/swap run --a $(FACES)/franck.mp4 --b $(FACES)/cap13_edit2.mp4 --frames 750 \
	  --out $(OUT) --minutes $(MINUTES)

test: $(READY_EXTRAS)
	$(BIN)/python -m pytest

lint: $(READY_EXTRAS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY_EXTRAS)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY_EXTRAS)
	$(BIN)/python -m bench

wheel: $(READY_EXTRAS)
	$(BIN)/python -m build --outdir dist .

clean:
	rm -rf $(VENV) dist build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
