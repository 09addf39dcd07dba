# One command from a bare machine (Python 3.11 or newer, git, make) to the report: make reproduce
PYTHON ?= python3
BIN := .venv/bin
SET_UP := .venv/.set-up

.PHONY: reproduce test lint lock readme
.DELETE_ON_ERROR:

# DVC finds `python` on PATH, so that stages run with the environment's own.
reproduce: $(SET_UP)
	PATH="$(CURDIR)/$(BIN):$$PATH" dvc repro

# One thread a process: the nets of the tests are tiny, and the tests run side by side.
test: $(SET_UP)
	PATH="$(CURDIR)/$(BIN):$$PATH" OMP_NUM_THREADS=1 pytest

lint: $(SET_UP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

readme: $(SET_UP)
	$(BIN)/python -m vgg_ablation.report.readme

# --universal: one lock for every platform; hashes, and no address of an index.
lock:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --upgrade --generate-hashes --python-version 3.11 --group dev \
	    --custom-compile-command "make lock" --output-file requirements.lock pyproject.toml

# The installer itself comes out of the lock too, held to its hashes like the rest.
$(SET_UP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv .venv
	awk '/^[^ #]/ {found = /^uv==/} found' requirements.lock > .venv/uv.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement .venv/uv.txt
	$(BIN)/uv pip sync --require-hashes --python $(BIN)/python requirements.lock
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python --editable .
	@touch $@
