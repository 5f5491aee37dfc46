# Every target sets up what it needs: a fresh clone and one command are enough.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

VENV := .venv
BIN := $(VENV)/bin
# The first Python 3.11 or newer; 3.11 comes first because constraints.txt was resolved with it.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
INSTALL := scripts/install.sh $(BIN)/python --constraint constraints.txt

# Of plan, build and verify: make build AOI=luxembourg RECIPE=demo
AOI ?= demo
RECIPE ?= demo
OUT ?= out/$(AOI)-$(RECIPE)
WORKERS ?=
YES ?=
# Of test: make test PYTEST="-k grid -x"
PYTEST ?=

# Only arguments that were given are handed on.
BUILD_ARGS = --aoi '$(AOI)' --recipe '$(RECIPE)' --out '$(OUT)' $(if $(WORKERS),--workers $(WORKERS))

.PHONY: help setup check lint test coverage docs bench live-asf live-cdse live-gee live-hub live-snap demo plan build verify constraints clean

help:  ## Print this list.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BIN)/python:
	@test -n '$(PYTHON)' || { echo 'm3leo-prep needs Python 3.11 or newer: install it, or say make PYTHON=/path/to/python' >&2; exit 1; }
	@echo 'Making the environment in $(VENV): a minute or two.'
	@$(PYTHON) -m venv $(VENV)

# What building needs; light: no torch, no test tools.
$(VENV)/.build: pyproject.toml constraints.txt | $(BIN)/python
	@$(INSTALL) --editable '.[build]'
	@touch $@

# Everything that tests, docs and benchmarks need; includes the above.
$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@$(INSTALL) --editable '.[dev]'
	@touch $(VENV)/.build $@

setup: $(VENV)/.dev  ## Make the environment in .venv, with all development tools.

check: lint test  ## Format, lint, types, import layers and tests: what CI runs.

lint: $(VENV)/.dev  ## The same without the tests.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(VENV)/.dev  ## Run the tests; narrow them with PYTEST="-k grid".
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(PYTEST)

# Half as long again as the tests alone, so CI leaves it out.
coverage: $(VENV)/.dev  ## Run the tests and show which lines and branches none of them reaches.
	$(MAKE) test PYTEST='--cov=m3leo_prep --cov-branch --cov-report=term:skip-covered'

docs: $(VENV)/.dev  ## Build the documentation into site/.
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

bench: $(VENV)/.dev  ## Run the benchmarks; one JSON line per case, kept in benchmarks/results/.
	@mkdir -p benchmarks/results
	@for script in benchmarks/bench_*.py; do \
	  name=$$(basename $$script .py); echo "== $$name"; \
	  $(BIN)/python $$script | tee benchmarks/results/$${name#bench_}.local.json; \
	done

live-gee: $(VENV)/.dev  ## Ask the real Earth Engine, with your account, what no stand-in can show; prints a report.
	@$(BIN)/python scripts/live_gee.py

live-asf: $(VENV)/.dev  ## Ask the real Earthdata and ASF, with your account, a few tiny questions; prints a report.
	@$(BIN)/python scripts/live_asf.py

live-cdse: $(VENV)/.dev  ## Ask the real Copernicus Data Space and open catalogues a few tiny questions; prints a report.
	@$(BIN)/python scripts/live_cdse.py

live-snap: $(VENV)/.dev  ## Hold the table of SNAP's operators against the SNAP that is installed here, and run a tiny graph.
	@$(BIN)/python scripts/live_snap.py $(SCENE)

live-hub: $(VENV)/.dev  ## Publish to the real Hub, with your account, and ask what no stand-in can show; deletes it again.
	@$(BIN)/python scripts/live_hub.py $(DATASET)

demo: $(VENV)/.build  ## Build and verify a small synthetic dataset: no account, no downloads.
	$(BIN)/m3leo-prep build --aoi demo --recipe demo --out out/demo --yes
	$(BIN)/m3leo-prep verify out/demo
	@echo
	@echo 'Made: out/demo, a verified chip dataset of synthetic Sentinel-1, Sentinel-2, terrain and land cover.'
	@echo 'Open it:  .venv/bin/python  and then  import m3leo_prep as mp; mp.open_dataset("out/demo")'
	@echo 'Next:     docs/guides/first-dataset.md looks inside; docs/guides/local-rasters.md takes your own rasters.'

plan: $(VENV)/.build  ## Show what a build would make and cost: AOI= RECIPE= OUT=
	$(BIN)/m3leo-prep plan --aoi '$(AOI)' --recipe '$(RECIPE)'

build: $(VENV)/.build  ## Build a dataset, or resume one: AOI= RECIPE= OUT= WORKERS= YES=1
	$(BIN)/m3leo-prep build $(BUILD_ARGS) $(if $(YES),--yes)

verify: $(VENV)/.build  ## Verify a dataset: OUT=, or the AOI= and RECIPE= it was built with
	$(BIN)/m3leo-prep verify '$(OUT)'

# Drop the pins, take the newest versions that pyproject.toml admits, and write them down.
# torch keeps its pin: without one, pip would take a build with several GB of GPU libraries.
constraints: $(BIN)/python  ## Refresh constraints.txt with the newest versions, then run make check.
	grep '^torch==' constraints.txt > $(VENV)/torch.txt
	$(BIN)/python -m pip install --quiet --upgrade --upgrade-strategy eager --constraint $(VENV)/torch.txt --editable '.[dev]'
	{ sed -n '/^#/p' constraints.txt; \
	  $(BIN)/python -m pip freeze --exclude-editable | grep -v ' @ ' | sed 's/+cpu$$//'; } > $(VENV)/constraints.txt
	mv $(VENV)/constraints.txt constraints.txt

clean:  ## Remove the environment and everything built, but no dataset.
	rm -rf $(VENV) site dist .mypy_cache .ruff_cache .pytest_cache .coverage*
