# Every target does its own set-up: a virtual environment with the versions of constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
FOREIGN := ctgan diffusers pythae scvi-tools sdv

.PHONY: browser demo test test-slow test-adapters lint types mutants package bench paper paper-full fuzz audit-deps docs site clean

demo: $(READY)  ## The main job on real data; ends with a report to open.
	$(BIN)/moreso demo

# Shapes in annotations are checked while these run; checks double the time of a fit, so other tests go without.
CHECKED := $(patsubst %,tests/test_%.py,ask dependence kernels regularizer relations relative tables)

test: lint browser  ## Everything that CI runs, with one thread per process.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow" --jaxtyping-packages=moreso,tests.check $(CHECKED)

# The report is tested in the system's browser. CI installs one; elsewhere its tests skip themselves without one.
browser:
	@if [ -n "$$CI" ] && [ "$$(id -u)" = 0 ] && ! command -v chromium >/dev/null && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; fi

test-slow: $(READY)  ## The tests that take minutes: levels, power and calibration.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m slow

test-adapters: .venv-adapters/ready  ## Adapters of libraries that need other versions than ours, in an environment of their own.
	OMP_NUM_THREADS=1 .venv-adapters/bin/python -m pytest tests/adapters

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

types: $(READY)  ## Check the types that users see by pyright, which runs in Node.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt 'pyright[nodejs]'
	$(BIN)/python -m pyright --pythonpath $(BIN)/python

mutants: $(READY)  ## Break the code on purpose, and name the test that notices.
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.mutants

# A looser range of PyTorch may fetch a build of several gigabytes; another one: make package TORCH='torch>=2.4'.
TORCH ?= torch==2.13.0
EXTRAS := dask,gpytorch,lightning,pyro,sql
PACKAGE := .venv-package
INSTALL := -m pip install --quiet --disable-pip-version-check

package:  ## Build sdist and wheel into dist/, and use the wheel with the lowest and the newest versions of what it needs.
	rm -rf dist $(PACKAGE)
	$(PYTHON) -m venv $(PACKAGE)/build
	$(PACKAGE)/build/bin/python $(INSTALL) build twine
	$(PACKAGE)/build/bin/python -m build
	$(PACKAGE)/build/bin/python -m twine check --strict dist/*
	$(PACKAGE)/build/bin/python tests/package/contents.py dist
	$(PACKAGE)/build/bin/python tests/package/lowest.py '$(TORCH)' > $(PACKAGE)/lowest.txt
	echo '$(TORCH)' > $(PACKAGE)/newest.txt
	set -e; for versions in lowest newest; do echo "the $$versions versions:"; \
	    $(PYTHON) -m venv $(PACKAGE)/$$versions; \
	    $(PACKAGE)/$$versions/bin/python $(INSTALL) --constraint $(PACKAGE)/$$versions.txt "$$(echo dist/*.whl)[$(EXTRAS)]"; \
	    OMP_NUM_THREADS=1 $(PACKAGE)/build/bin/python tests/package/smoke.py $(PACKAGE)/$$versions/bin; \
	done

bench: $(READY)  ## Measure speed and memory against other libraries (an hour), and write docs/performance.md.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.run
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.scale
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.processes
	$(BIN)/python -m benchmarks.tables

paper: $(READY)  ## Run what is lacking of the VAE's first seed on the tables that are there (minutes), and write docs/results.md.
	OMP_NUM_THREADS=1 $(BIN)/python -m experiments.audit
	OMP_NUM_THREADS=1 $(BIN)/python -m experiments.gain vae --seeds 1 --stage claim --stage worlds
	$(BIN)/python -m docs.generate results

paper-full: $(READY)  ## All of them: hours. Set aside experiments/results/gain.jsonl to measure anew.
	OMP_NUM_THREADS=1 $(BIN)/python -m experiments.audit
	OMP_NUM_THREADS=1 $(BIN)/python experiments/derive.py
	OMP_NUM_THREADS=1 $(BIN)/python -m experiments.gain
	OMP_NUM_THREADS=1 $(BIN)/python -m experiments.games
	OMP_NUM_THREADS=1 $(BIN)/python -m experiments.compare
	OMP_NUM_THREADS=1 $(BIN)/python -m experiments.privacy
	$(BIN)/python -m docs.generate results

SECONDS ?= 60
fuzz: $(READY)  ## Search for inputs that break readers, guided by coverage, for a minute each (make fuzz SECONDS=600).
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[fuzz]'
	for target in knowledge table header condition; do \
		OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz $$target --seconds $(SECONDS) || exit 1; done

audit-deps: $(READY)  ## Compare the pinned versions with known vulnerabilities; fails without the network.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(BIN)/python -m pip_audit --requirement constraints.txt --no-deps --disable-pip --strict

docs: $(READY)  ## Write the generated parts of README.md and docs/ anew, and build the site.
	$(BIN)/python -m docs.generate
	$(MAKE) site

site: $(READY)  ## Build the site from what is there; broken links are errors. Open site/index.html, or serve it to search.
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

clean:
	rm -rf .venv .venv-adapters .venv-package dist moreso-demo site .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "moreso needs Python 3.11 or newer; name one: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

# ctgan and sdv are under the Business Source License, which allows tests such as these: they are installed here alone,
# and are no dependency of moreso, not even an optional one.
.venv-adapters/ready: pyproject.toml constraints-adapters.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "moreso needs Python 3.11 or newer; name one: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv .venv-adapters
	.venv-adapters/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-adapters.txt --editable . beartype hypothesis pytest $(FOREIGN)
	@touch $@
