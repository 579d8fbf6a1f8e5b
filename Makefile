# Everything runs in one virtual environment, made here on first use with plain pip.
# Python 3.11 or later, make and a package index are all that is needed.
# `make PYTHON=/path/to/python3` names the interpreter, `make VENV=folder` the environment.

VENV   ?= .venv
PYTHON ?=
PY     := $(VENV)/bin/python
LOCK   := requirements-dev.lock
# No compiled extension of ours and no source build: a new lock or new metadata is what makes it stale.
INPUTS := pyproject.toml $(LOCK) Tools/install_torch.py
PIP    := $(PY) -m pip --disable-pip-version-check install --constraint $(LOCK)
TESTS  ?=
# Test files go to as many processes as there are cores, four at most: each takes a gigabyte or two.
# `make test JOBS=0` stays in one process, which a debugger wants.
JOBS   ?= logical
PYTEST := $(PY) -m pytest --numprocesses $(JOBS) --maxprocesses 4 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help demo test test-all check lint types bench bench-full format lock torch clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.ready-demo ## run the whole road on generated data; results in demo-output/
	$(PY) -m NASAM3DLib demo --output demo-output --force

test: $(VENV)/.ready-dev ## run the tests; TESTS="Testing/test_x.py -k name" runs some of them
	$(PYTEST) $(TESTS)

test-all: $(VENV)/.ready-dev ## run the tests, the slow ones too
	$(PYTEST) -m "" $(TESTS)

check: lint types test ## lint, types and tests

lint: $(VENV)/.ready-dev ## check rules, formatting and the lists in CMakeLists.txt
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) Tools/cmake_lists.py

types: $(VENV)/.ready-dev ## check types; wants torch and MONAI installed
	$(PY) -m mypy

bench: $(VENV)/.ready-dev ## print the benchmark of one body; minutes
	$(PY) Testing/bench/run.py

bench-full: $(VENV)/.ready-dev ## measure all and write docs/benchmarks.md and docs/quality.md; half an hour
	$(PY) Testing/bench/run.py --full --write
	$(PY) Testing/bench/quality.py --write

format: $(VENV)/.ready-dev ## reformat, sort imports, rewrite the lists in CMakeLists.txt
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .
	$(PY) Tools/cmake_lists.py --write

lock: $(VENV)/.ready-dev ## write the versions now installed to requirements-dev.lock
	$(PY) Tools/lock.py --write
	touch $(VENV)/.ready-demo $(VENV)/.ready-dev

torch: $(PY) ## look for torch again where the set-up had to leave it out
	$(PY) Tools/install_torch.py --constraint $(LOCK) --also monai

clean: ## remove the environment, caches and results
	rm -rf $(VENV) build dist *.egg-info demo-output bench-output
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find NASAM3D NASAM3DLib Testing Tools -name __pycache__ -prune -exec rm -rf {} +

$(PY):
	@sh Tools/make_venv.sh $(VENV) $(PYTHON)

$(VENV)/.ready-demo: $(INPUTS) | $(PY)
	$(PIP) --editable .
	$(PY) Tools/install_torch.py --constraint $(LOCK)
	@touch $@

$(VENV)/.ready-dev: $(INPUTS) | $(PY)
	$(PIP) --editable ".[vendor,dicom-seg,lint,test]"
	$(PY) Tools/install_torch.py --constraint $(LOCK) --also monai
	@touch $@ $(VENV)/.ready-demo
