# make run: the main job, everything set up on the way. make test, lint, bench, fuzz: what they say.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help run test coverage lint format bench fuzz mutants lock clean

help: ## these lines
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 10

# One environment for everything: what is run is what is tested. Hashes are checked by pip itself. The lock is complete;
# without --no-deps pip 23 looks for a newer release of whatever another package asks for with an extra, and refuses it.
$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all: -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	$(BIN)/python -m pip check --quiet --disable-pip-version-check
	touch $@

run: $(INSTALLED) ## set up .venv and run the demonstration: a real Envoy, real TLS clients, SQLite
	$(BIN)/authz demo $(DEMO)

test: $(INSTALLED) ## the whole test suite
	$(BIN)/python -m pytest $(PYTEST)

coverage: $(INSTALLED) ## each module of the validator, wholly covered by its own test file
	$(BIN)/python tests/own_coverage.py

lint: $(INSTALLED) ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED) ## let ruff write the layout
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(INSTALLED) ## what a check costs, as ratios measured inside one run
	for each in benchmarks/bench_*.py; do $(BIN)/python $$each || exit 1; done

fuzz: $(INSTALLED) ## the mutation and differential tests at length
	FUZZ=100 $(BIN)/python -m pytest -m fuzz $(PYTEST)

mutants: $(INSTALLED) ## the shipped configurations, each line taken out or turned: what probes show, lint must name
	PYTHONPATH=.:tests:tests/doctor:tests/integration $(BIN)/python tests/integration/mutants_probed.py $(MUTANTS)

lock: ## pin the newest versions that pyproject.toml allows
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --upgrade --generate-hashes --strip-extras --no-header --no-emit-options --allow-unsafe --extra demo --extra dev --extra doctor --output-file requirements.lock pyproject.toml
	# What the image is made of, at the same versions: what runs, and what builds the wheel.
	$(BIN)/pip-compile --quiet --generate-hashes --strip-extras --no-header --no-emit-options --allow-unsafe --constraint requirements.lock --output-file requirements-service.lock pyproject.toml
	$(BIN)/pip-compile --quiet --generate-hashes --strip-extras --no-header --no-emit-options --allow-unsafe --constraint requirements.lock --build-deps-for wheel --only-build-deps --output-file requirements-build.lock pyproject.toml

clean: ## take away what the targets made
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis tests/manifest_models/node_modules
