# Everything installs itself: the only things needed by hand are Python >= 3.11 and make.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help
help: ## What can be made
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Ballast needs Python 3.11 or newer; set PYTHON=python3.x")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing Python packages into $(VENV) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: venv
venv: $(STAMP) ## Python packages, pinned by hash, in .venv

.PHONY: lock
lock: venv ## Refresh requirements.lock from pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	  --all-extras --group dev pyproject.toml --output-file requirements.lock

.PHONY: lint
lint: venv ## Style and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

.PHONY: types
types: venv ## Strict types
	$(BIN)/mypy

.PHONY: tools
tools: venv ## Real etcd, Prometheus, Alertmanager, node_exporter in .tools/bin
	@$(BIN)/python -m tools.fetch


# --- Generated files. A generator adds itself to `generate`, and its check to `check-generated`. ---
.PHONY: generate
generate: generate-mixin generate-proto ## Everything that is generated and committed

.PHONY: check-generated
check-generated: check-generated-mixin check-generated-proto ## Fails, with the difference, when generated files are out of date

.PHONY: generate-mixin
generate-mixin: venv
	@$(BIN)/python -m tools.mixin

.PHONY: check-generated-mixin
check-generated-mixin: venv
	@$(BIN)/python -m tools.mixin --check

.PHONY: generate-proto
generate-proto: venv
	@$(BIN)/python -m tools.proto

.PHONY: check-generated-proto
check-generated-proto: venv
	@$(BIN)/python -m tools.proto --check

.PHONY: lock-proto
lock-proto: venv ## Refresh tools/proto.lock from tools/proto.in
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	  tools/proto.in --output-file tools/proto.lock

.PHONY: approve-runbooks
approve-runbooks: venv ## Record the digests of the runbooks as reviewed
	$(BIN)/python -m ballast_remediator.runbooks.lock
