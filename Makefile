# Everything installs itself: the only things needed by hand are Python >= 3.11 and make.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SUITE ?= all
POINTS ?= 1000
STORE ?= both
FROM ?= 1
PICTURES := tools/pictures
NPM = cd $(PICTURES) && npm --silent

.PHONY: help
help: ## What can be made
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %-22s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- What a newcomer wants ---

.PHONY: demo
demo: tools ## Watch a full etcd free itself (KEEP=1 leaves everything running)
	@$(BIN)/python -m drills.demo

.PHONY: test
test: tools ## Tests, on real components; a few minutes
	@$(BIN)/pytest -m "not e2e"

# --- What a change has to pass; .ci/run makes them all ---

.PHONY: lint
lint: venv ## Style and layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

.PHONY: types
types: venv ## Strict types
	@$(BIN)/mypy

.PHONY: check-generated
check-generated: venv ## Fails, with the difference, when generated files are out of date
	@$(BIN)/python -m tools.mixin --check
	@$(BIN)/python -m tools.rbac --check
	@$(BIN)/python -m tools.proto --check

.PHONY: e2e
e2e: tools tools-e2e ## The demo's story, real apiservers, and the remediator under 30 faults on each store
	@$(BIN)/python -m tools.gobuild kubernetes-1.33  # its metrics have the older labels
	@$(BIN)/pytest -m e2e -s

# --- What measures, and what takes more than CI has ---

.PHONY: bench
bench: tools ## Figures beside their targets (SUITE=all or one of benchmarks/)
	@$(BIN)/python -m benchmarks $(SUITE)

.PHONY: faults
faults: tools ## The remediator under faults (POINTS=1000 SEED=n STORE=sqlite|postgresql|both FROM=1)
	@$(BIN)/python -m drills.faults --points $(POINTS) --first $(FROM) --store $(STORE) $(if $(SEED),--seed $(SEED))

.PHONY: check-dashboards
check-dashboards: $(PICTURES)/node_modules/.package-lock.json ## Dashboards against Grafana's schema; what draws them, checked (Node.js 20)
	@$(NPM) run check

# --- What refreshes committed files ---

.PHONY: format
format: venv ## Put every file into the house's form
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: generate
generate: venv ## Everything that is generated and committed: alerts/, dashboards/, RBAC, the gRPC messages
	@$(BIN)/python -m tools.mixin
	@$(BIN)/python -m tools.rbac
	@$(BIN)/python -m tools.proto

.PHONY: drill-stall
drill-stall: tools tools-e2e ## How soon a stalled channel is named and paged (TIMES=10 ENDPOINTS=both NODES=5000 ONLY="mute" MINUTES=8; LOOKALIKES=1; CURES=1); goes on where it ended
	@$(BIN)/python -m drills.stall --endpoints $(or $(ENDPOINTS),local) --times $(or $(TIMES),1) --nodes $(or $(NODES),0) \
		--minutes $(or $(MINUTES),600) $(if $(ONLY),--only "$(ONLY)") $(if $(LOOKALIKES),--lookalikes) $(if $(CURES),--cures)

.PHONY: drill-configmap-flood
drill-configmap-flood: tools tools-e2e ## Kubelets flood a real apiserver; who is named, how soon, how exactly (KUBELETS=2000)
	@$(BIN)/python -m drills.configmap_flood --kubelets $(or $(KUBELETS),2000)

.PHONY: dashboards-pictures
dashboards-pictures: tools tools-e2e $(PICTURES)/build/main.js ## Dashboards drawn from the data of three drills into docs/dashboards/ (Node.js 20, Chromium)
	@$(BIN)/python -m drills.pictures

.PHONY: approve-runbooks
approve-runbooks: venv ## After a review: record the digests of the runbooks
	@$(BIN)/python -m ballast_remediator.runbooks.lock

LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header

.PHONY: lock
lock: venv ## Refresh requirements.lock and tools/proto.lock
	@$(LOCK) --all-extras --group dev pyproject.toml --output-file requirements.lock
	@$(LOCK) tools/proto.in --output-file tools/proto.lock

# --- What installs ---

$(STAMP): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Ballast needs Python 3.11 or newer; say make PYTHON=python3.x")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing Python packages into $(VENV) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: venv
venv: $(STAMP) ## Python packages, pinned by hash, in .venv

.PHONY: tools
tools: venv ## Real etcd, Prometheus, Alertmanager, node_exporter in .tools/bin
	@$(BIN)/python -m tools.fetch

.PHONY: tools-e2e
tools-e2e: venv ## kube-apiserver, kube-controller-manager, kwok, etcd 3.6: built once, 7 minutes (Go 1.26; MODULES=… for others)
	@$(BIN)/python -m tools.gobuild $(MODULES)

$(PICTURES)/node_modules/.package-lock.json: $(PICTURES)/package-lock.json
	@node -e 'process.exit(process.versions.node.split(".")[0] >= 20 ? 0 : 1)' \
		|| { echo "needs Node.js 20 or newer with npm on PATH" >&2; exit 1; }
	@echo "installing Grafana's components into $(PICTURES)/node_modules ..."
	@$(NPM) ci
	@touch $@

$(PICTURES)/build/main.js: $(PICTURES)/node_modules/.package-lock.json $(PICTURES)/package.json $(shell find $(PICTURES)/src -type f)
	@$(NPM) run build
