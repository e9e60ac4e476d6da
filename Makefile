# Two commands are all a new user needs: `make demo` and `make test`.
# Each sets up what it needs: a virtual environment with locked, hashed dependencies, and for the
# tests the real peers (DCMTK, Orthanc, Chromium) from Debian's packages.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Tests that start no service; and those that do. Both run two beside each other, the second by
# file, the longest first. What measures time is marked `alone`: it has the machine to itself.
QUICK  := tests/unit tests/properties tests/architecture
WHOLE  := tests/acceptance tests/faults tests/integration
PYTEST  = $(BIN)/python -m pytest
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test check bench figures soak reliability flame lock clean peers format web sbom \
    advisories wheelhouse

demo: $(VENV)/.runtime
	@$(BIN)/hilum demo

test: $(VENV)/.dev peers
	@failed=0; \
	$(PYTEST) -n 2 --dist worksteal -m "not alone and not soak" $(QUICK) || failed=1; \
	$(PYTEST) -n 2 --dist loadfile --no-loadscope-reorder -m "not alone and not soak" $(WHOLE) || failed=1; \
	$(PYTEST) -m "alone and not soak" tests || failed=1; \
	exit $$failed

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) -q -n 2 --dist worksteal -m "not slow and not peer and not alone and not soak" $(QUICK)

bench: $(VENV)/.dev peers
	@$(BIN)/python -m tests.bench

# Measure on a quiet machine, and put what was measured into docs/performance.md.
figures: bench
	@cp build/bench.json docs/bench.json
	@cp build/cost-against-load.svg docs/pictures/cost-against-load.svg
	@$(BIN)/python -m docs.generate

# The faults' long forms. A run that was broken off goes on; ANEW=1 starts over.
soak: $(VENV)/.dev peers
	@$(BIN)/python -m tests.soak $(if $(ANEW),--anew)

# Run them on a quiet machine, and put what was seen into docs/reliability.md.
reliability: soak
	@cp build/soak.json docs/soak.json
	@cp build/soak.svg docs/pictures/soak.svg
	@$(BIN)/python -m docs.generate

flame: $(VENV)/.dev peers
	@$(BIN)/python -m tests.bench.flame

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Resolve the dependencies anew; the lock files hold versions and hashes, and no registry.
lock:
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip --quiet install uv
	build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-header --no-annotate pyproject.toml --extra build \
	    --output-file deploy/lock/runtime.txt
	build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-header --no-annotate pyproject.toml --extra build \
	    --extra training --extra test \
	    --constraint deploy/lock/runtime.txt --output-file deploy/lock/dev.txt

# Build the study page anew from daemon/web/frontend: the one target that needs Node (20 or later).
web:
	cd daemon/web/frontend && npm ci --no-audit --no-fund && npm run build

# What the product is made of, as CycloneDX JSON with licences and hashes.
sbom: $(VENV)/.dev
	@$(BIN)/python -m docs.supply sbom build/sbom.cdx.json

# Ask an advisory database about the locked packages: needs the internet, and says so without it.
advisories: $(VENV)/.dev
	@$(BIN)/python -m docs.supply advisories

# A folder that installs without a network: our wheel, every locked dependency, and the installer.
# Make it on a machine with the Python version and the processor of the one it is for.
wheelhouse: $(VENV)/.runtime
	@rm -rf build/lib build/wheelhouse
	@$(PIP) wheel --no-deps --no-build-isolation --wheel-dir build/wheelhouse .
	@rm -rf build/lib
	@$(PIP) download --require-hashes --only-binary :all: --dest build/wheelhouse \
	    --requirement deploy/lock/runtime.txt
	@cp deploy/install.sh build/wheelhouse/
	@echo "build/wheelhouse: sh install.sh --wheels . installs it"

peers:
	@sh tests/peers.sh

clean:
	rm -rf build dist $(VENV) *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "hilum needs Python 3.11 or later; found $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	    { echo "hilum needs Python's venv module: apt-get install python3-venv"; exit 1; }
	@echo "setting up $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: deploy/lock/runtime.txt pyproject.toml | $(VENV)/bin/python
	@test -e $(VENV)/.dev || { echo "installing the locked dependencies ..."; \
	    $(PIP) install --require-hashes --requirement deploy/lock/runtime.txt; }
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: deploy/lock/dev.txt pyproject.toml | $(VENV)/bin/python
	@echo "installing the locked dependencies for development and training ..."
	@$(PIP) install --require-hashes --requirement deploy/lock/dev.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.runtime
