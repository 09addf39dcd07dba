# One command from a bare machine (Python 3.11 or newer, git, make) to the report: make reproduce
PYTHON ?= python3
# The image of Dockerfile has its environment elsewhere.
VGG_ABLATION_VENV ?= .venv
BIN := $(VGG_ABLATION_VENV)/bin
SET_UP := $(VGG_ABLATION_VENV)/.set-up

.PHONY: set-up reproduce repository undo test torture lint lock docs estimate search-cost trial-ranks appendix-b-cost scaling \
    bench bench-short gpu-check cluster test-cluster live search-live
.DELETE_ON_ERROR:

# A user without an entry in /etc/passwd (docker run --user), or with a home that cannot be written.
ifeq ($(LOGNAME)$(USER),)
export LOGNAME := $(shell id -u)
endif
ifneq ($(shell test -w "$$HOME" && echo yes),yes)
export HOME := $(CURDIR)/.state/home
endif

# pip's settings for other places than .venv; both steps of the set-up use pip's index.
export PIP_USER := 0
unexport PIP_TARGET PIP_PREFIX PIP_ROOT
UV = index="$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$($(PYTHON) -m pip config get global.index-url 2>/dev/null)}}"; \
    $${index:+env UV_DEFAULT_INDEX="$$index"} $(BIN)/uv

# The environment alone.
set-up: $(SET_UP)

# The first command computes the nets on all cores or GPUs; `dvc repro` finds that work done and assembles it. DVC finds
# `python` on PATH, so that stages run with the environment's own.
reproduce: repository $(SET_UP)
	PATH="$(abspath $(BIN)):$$PATH" python -m vgg_ablation.parallel
	PATH="$(abspath $(BIN)):$$PATH" dvc repro

# DVC needs a git repository with a commit; a downloaded ZIP has none. git itself says what else is wrong.
repository:
	@test -e .git || { echo "this is no git repository (from a ZIP?); first run:" >&2; \
	    echo "  git init && git add --all" >&2; echo "  git commit --message download" >&2; exit 1; }
	@git log -1 --format=

# Tests run side by side: one thread a process.
test: $(SET_UP)
	PATH="$(abspath $(BIN)):$$PATH" OMP_NUM_THREADS=1 pytest

# Kills a study more than thirty times in every stage; trains nets side by side and in DVC's queue. Half an hour.
torture: $(SET_UP)
	PATH="$(abspath $(BIN)):$$PATH" OMP_NUM_THREADS=1 pytest -m torture --numprocesses=0 --capture=no --verbose

lint: $(SET_UP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

# The generated parts of the documents: excerpts of reports, planning, the reference of settings.
docs: $(SET_UP)
	$(BIN)/python -m vgg_ablation.report.readme
	$(BIN)/python -m vgg_ablation.report.planning
	$(BIN)/python -m vgg_ablation.runtime.settings_reference

# After an experiment, or a killed one: settings, lock files, reports, results and branch of the last commit.
undo: $(SET_UP)
	@PATH="$(abspath $(BIN)):$$PATH" python -m vgg_ablation.runtime.experiment

estimate: $(SET_UP)
	$(BIN)/python -m vgg_ablation.parallel --dry-run

# Half an hour on two cores.
search-cost: $(SET_UP)
	$(BIN)/python -m benchmarks.search_cost

# Five minutes on two cores.
trial-ranks: $(SET_UP)
	PATH="$(abspath $(BIN)):$$PATH" dvc repro stages/dvc.yaml:preprocess
	$(BIN)/python -m benchmarks.trial_ranks

# A minute on two cores.
appendix-b-cost: $(SET_UP)
	$(BIN)/python -m benchmarks.appendix_b

# Times of a study on 1 to 64 slots, for docs/clusters.md.
scaling: $(SET_UP)
	$(BIN)/python -m benchmarks.scaling

bench: $(SET_UP)-bench
	$(BIN)/python -m benchmarks.speed

bench-short: $(SET_UP)-bench
	$(BIN)/python -m benchmarks.speed --short

# On a machine with a GPU: its tests, a pilot, speed, and a table of targets. Minutes.
gpu-check: $(SET_UP)-bench
	$(BIN)/python -m benchmarks.gpu_check

# The environment with Ray, on each machine of a cluster: docs/clusters.md.
cluster: $(SET_UP)-cluster

# Starts Ray on this machine, as two nodes. A minute or two.
test-cluster: $(SET_UP)-cluster
	PATH="$(abspath $(BIN)):$$PATH" OMP_NUM_THREADS=1 pytest --numprocesses=0 tests/parallel/test_cluster.py

# Learning curves of what runs or has run, in a browser.
live: $(SET_UP)
	mkdir -p live
	$(BIN)/tensorboard --logdir live

# Finished trials of the searches that run or have run, in a browser.
search-live: $(SET_UP)
	$(BIN)/python -m vgg_ablation.train.dashboard

# --universal: one lock for every platform; hashes, and no address of an index. The benchmark and Ray have locks of their
# own, with the same versions, so that only who uses them installs them.
COMPILE = $(BIN)/uv pip compile --quiet --universal --upgrade --generate-hashes --python-version 3.11 \
    --custom-compile-command "make lock" pyproject.toml
lock:
	$(PYTHON) -m venv $(VGG_ABLATION_VENV)
	$(BIN)/python -m pip install --quiet uv
	$(COMPILE) --group dev --output-file requirements.lock
	$(COMPILE) --group bench --constraint requirements.lock --output-file requirements-bench.lock
	$(COMPILE) --group cluster --constraint requirements.lock --output-file requirements-cluster.lock

# The installer itself comes out of the lock too, held to its hashes like the rest. Bytecode is compiled here, once: where
# Python may not write it (PYTHONDONTWRITEBYTECODE, as in many containers), every stage would compile torch again, seconds.
$(SET_UP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VGG_ABLATION_VENV)
	awk '/^[^ #]/ {found = /^uv==/} found' requirements.lock > $(VGG_ABLATION_VENV)/uv.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $(VGG_ABLATION_VENV)/uv.txt
	$(UV) pip sync --compile-bytecode --require-hashes --python $(BIN)/python requirements.lock
	$(UV) pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python --editable .
	@touch $@

# A group of packages, bench or cluster. The set-up before it removes what is not in requirements.lock, so this comes
# again after each.
$(SET_UP)-%: requirements-%.lock $(SET_UP)
	$(UV) pip install --quiet --require-hashes --python $(BIN)/python --requirement $<
	@touch $@
