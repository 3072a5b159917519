# `make run` sets up everything and runs the demonstration; `make help` lists the other targets.
PYTHON ?= python3
# More than cores, for the longest tests wait for the processes that they start.
PROCESSES ?= 3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DIST := .venv-dist
# The time of the last commit; outside of a clone, hatchling's own default.
EPOCH := $(shell git log -1 --format=%ct 2>/dev/null || echo 1580601600)
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' authz/__init__.py)
# pip itself checks the hashes. The locks are complete; without --no-deps pip 23 looks for a newer release of every package
# that another one requires with an extra, and refuses it.
PIP_LOCKED := -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all: -r
COMPILE := $(BIN)/pip-compile --quiet --generate-hashes --strip-extras --no-header --no-emit-options --allow-unsafe
# These start processes or run long: `make quick` leaves them out, and single tests with the marker `slow`.
SLOW := clone containers crls/indexing crls/test_killed.py directory/postgresql integration monitoring supervision test_architecture.py app/test_systemd.py vectors

.PHONY: help man run test quick clone coverage lint format bench hostile fuzz soak mutants dist lock clean

help: ## these lines
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 10

# One environment for everything, so that what is tested is what runs.
$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP_LOCKED) requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	$(BIN)/python -m pip check --quiet --disable-pip-version-check
	touch $@

run: $(INSTALLED) ## set up .venv and run the demonstration: a real Envoy, real TLS clients, SQLite
	$(BIN)/authz demo $(DEMO)

test: $(INSTALLED) ## the whole test suite, but for `make clone`, in three processes
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder --ignore tests/clone $(PYTEST)

quick: $(INSTALLED) ## the quick tests, which start no process, on every core: about a minute on two
	$(BIN)/python -m pytest -n auto -m "not fuzz and not slow" --hypothesis-profile quick $(SLOW:%=--ignore tests/%) $(PYTEST)

clone: $(INSTALLED) ## clone the last commit elsewhere, and run, test, build and install it there
	$(BIN)/python -m pytest tests/clone $(PYTEST)

coverage: $(INSTALLED) ## each module of the validator, wholly covered by its own test file
	$(BIN)/python tests/support/own_coverage.py

lint: $(INSTALLED) ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED) ## let ruff rewrite the layout
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(INSTALLED) ## what a check costs, as ratios measured inside one run
	for each in benchmarks/bench_*.py; do $(BIN)/python $$each || exit 1; done

hostile: $(INSTALLED) ## measure that no hostile certificate costs more than its bound
	$(BIN)/python -W ignore::UserWarning benchmarks/bench_hostile.py

fuzz: $(INSTALLED) ## the mutation and differential tests at length
	FUZZ=100 $(BIN)/python -m pytest -m fuzz $(PYTEST)

soak: $(INSTALLED) ## kill, replace and restore again and again, while requests are answered
	ROUNDS=50 $(BIN)/python -m pytest tests/integration/test_workers.py tests/integration/test_restore.py tests/integration/test_postgresql_replicas.py $(PYTEST)

mutants: $(INSTALLED) ## the shipped configurations, each line taken out or turned: what probes show, lint must name
	PYTHONPATH=.:tests:tests/integration $(BIN)/python -m support.doctor_mutants_probed $(MUTANTS)

man: $(INSTALLED) ## write a man page for each verb to dist/man; read one: man dist/man/authz-cert-add.1
	PYTHONPATH=. $(BIN)/python tests/support/generate_man.py dist/man

$(DIST)/.installed: requirements-dist.lock
	$(PYTHON) -m venv $(DIST)
	$(DIST)/bin/python $(PIP_LOCKED) requirements-dist.lock
	touch $@

dist: $(DIST)/.installed ## wheel, sdist and SBOM in dist/, checked, and the demonstration run from the wheel alone
	rm -rf dist
	SOURCE_DATE_EPOCH=$(EPOCH) $(DIST)/bin/python -m build --no-isolation --outdir dist
	$(DIST)/bin/twine check --strict dist/*
	$(DIST)/bin/cyclonedx-py requirements --output-reproducible --mc-type application --pyproject pyproject.toml --output-file dist/mtls_authz-$(VERSION).cdx.json requirements-service.lock
	set -e; fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; \
	$(PYTHON) -m venv "$$fresh"; \
	"$$fresh/bin/python" -m pip install --quiet --disable-pip-version-check "$$(echo $(CURDIR)/dist/*.whl)[demo]"; \
	cd "$$fresh" && bin/authz demo --once

lock: ## pin the newest versions that pyproject.toml allows
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet pip-tools
	$(COMPILE) --upgrade --extra demo --extra dev --extra doctor --extra postgresql --output-file requirements.lock pyproject.toml
	# For the image, at the same versions: what runs, and what builds the wheel.
	$(COMPILE) --constraint requirements.lock --extra postgresql --output-file requirements-service.lock pyproject.toml
	$(COMPILE) --constraint requirements.lock --build-deps-for wheel --only-build-deps --output-file requirements-build.lock pyproject.toml
	# For a release.
	$(COMPILE) --constraint requirements.lock --extra postgresql --extra dist --output-file requirements-dist.lock pyproject.toml

clean: ## remove what the targets made
	rm -rf $(VENV) $(DIST) dist .pytest_cache .mypy_cache .ruff_cache .hypothesis tests/manifest_models/node_modules
