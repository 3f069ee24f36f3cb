# payonce. Needs Python 3.11 or newer, make and git; everything else is set up in .venv from uv.lock.
# `make` lists the targets. PYTHON=/path/to/python chooses the interpreter, ARGS="..." passes options on.

.DEFAULT_GOAL := help
.NOTPARALLEL:
SHELL := /bin/sh

UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
# Always the environment and the interpreter of this folder, whatever the shell has set up.
UV := env -u VIRTUAL_ENV UV_PROJECT_ENVIRONMENT=$(VENV) UV_PYTHON=$(BIN)/python UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1 $(BIN)/uv
# What is compared with has many packages of its own: they stay out of the environment of the tests.
BENCH := build/bench/venv
SOURCES := src tests tools benchmarks examples
# One more than there are cores: many tests wait for real processes.
WORKERS = $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
BROWSER := tests/browser
# Real processes and the deployed stack under kills and silence; and the simulator's own tests.
TORTURE := tests/blackbox tests/aws tests/stores/dynamodb tests/test_on_dynamodb.py tests/test_example_provider.py tests/fuzz \
  tests/cli/test_processes.py tests/cli/test_listen.py tests/test_engine_providers.py
SIMULATION := tests/simulation

.PHONY: help run screenshots torture-aws aws-local aws-package test guard browser torture sim sim-long fuzz check lint types imports docs docs-check audit wheel aws-cost bench bench-long fmt clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.runtime ## watch payments being accepted, charged, retried and settled (payonce demo)
	@$(BIN)/payonce demo $(ARGS)

screenshots: $(VENV)/.dev ## photograph the dashboard of a running demo for the README, into docs/images
	@$(BIN)/python -m tools.screenshots $(ARGS)

aws-local: $(VENV)/.dev ## deploy the AWS template into a local emulator and watch payments settle there; Ctrl-C ends it
	@$(BIN)/python -m tools.aws_local $(ARGS)

aws-package: $(VENV)/.dev ## build the package of the AWS functions (arm64) and say its size
	@$(BIN)/python -m tools.aws_package $(ARGS)

test: $(VENV)/.dev ## run all tests but those of the browser, of torture and of the simulator
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(foreach path,$(BROWSER) $(TORTURE) $(SIMULATION),--ignore $(path)) $(ARGS)

guard: $(VENV)/.dev ## count the instructions of the hot paths with valgrind, against the baseline; ARGS=--write renews it
	@$(BIN)/python -m tests.guard --instructions $(ARGS)

browser: $(VENV)/.dev ## the pages and a customer in a real browser, and the README typed; skipped where there is no Chromium
	@$(BIN)/python -m pytest $(BROWSER)

torture: $(VENV)/.dev ## real processes and the deployed stack: outages, kill -9, and comparison with the vendors' books
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(TORTURE)

torture-aws: $(VENV)/.dev ## ten minutes: 500 payments through the deployed stack under kills, and every test of the API there
	@AWS_TORTURE_PAYMENTS=$${AWS_TORTURE_PAYMENTS:-500} $(BIN)/python -m pytest -n0 -s $(ARGS) tests/blackbox/test_aws_torture.py

sim: $(VENV)/.dev torture ## torture, then payments in 2,000 simulated worlds, every crash point, and what once failed
	@$(BIN)/python -m pytest -n $(WORKERS) $(SIMULATION)
	@$(BIN)/payonce simulate --seeds 2000 --twice 40 --points --kept tests/simulation/seeds.txt $(ARGS)

sim-long: $(VENV)/.dev ## the whole proof, for hours; it goes on where it was stopped
	@$(BIN)/python -m tests.simulation.long $(ARGS)

fuzz: $(VENV)/.dev ## spoil bytes from outside for as long as ARGS="--minutes 10" says, and keep what fails; ARGS=TARGET
	@$(BIN)/python -m tests.fuzz $(ARGS)

check: lint types imports docs-check audit wheel guard test browser sim ## all that CI runs: lint, types, imports, docs, wheel, tests

lint: $(VENV)/.dev ## ruff: rules and format; cfn-lint: the AWS template
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/cfn-lint --template deploy/aws/template.yaml

types: $(VENV)/.dev ## mypy, strict
	@$(BIN)/mypy
	@$(BIN)/mypy --explicit-package-bases tools
	@$(BIN)/mypy --explicit-package-bases -p benchmarks

imports: $(VENV)/.dev ## the arrows between the packages point down only
	@$(BIN)/lint-imports

docs: $(VENV)/.dev ## write docs/reference from the code
	@$(BIN)/python tools/docs.py

docs-check: $(VENV)/.dev ## docs/reference is what the code says
	@$(BIN)/python tools/docs.py --check

audit: $(VENV)/.dev ## known vulnerabilities in what uv.lock names; without a network it says so and passes
	@$(BIN)/python tools/audit.py $(ARGS)

wheel: $(VENV)/.dev ## build the wheel and run its demo in an empty environment
	@UV="$(UV)" sh tools/wheel.sh $(BIN)/python

aws-cost: $(VENV)/.dev ## count what a payment takes of AWS and price it; ARGS=--write puts the tables into docs
	@$(BIN)/python -m tools.aws.cost $(ARGS)

bench: $(BENCH)/.synced ## half an hour: payonce beside what people would use instead; ARGS="--only accept,settle --quick" is a look
	@$(BENCH)/bin/python -m benchmarks $(ARGS)

bench-long: $(BENCH)/.synced ## hours: ten million payments in the store, and an hour of load; added to what `make bench` found
	@$(BENCH)/bin/python -m benchmarks --long --add --only growth,shape,soak $(ARGS)

fmt: $(VENV)/.dev ## format the sources and apply safe fixes
	@$(BIN)/ruff check --fix $(SOURCES)
	@$(BIN)/ruff format $(SOURCES)

clean: ## remove the environment, caches and build results; payments files stay
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/uv:
	@sh tools/venv.sh $(VENV) $(UV_VERSION) $(PYTHON)

# --frozen: exactly what uv.lock says, nothing is resolved anew. --inexact: `make run` leaves the tools of `make test` alone.
$(VENV)/.runtime: uv.lock pyproject.toml | $(BIN)/uv
	@$(UV) sync --quiet --frozen --no-dev --inexact
	@touch $@

$(VENV)/.dev: uv.lock pyproject.toml | $(BIN)/uv
	@$(UV) sync --quiet --frozen --all-extras
	@touch $@ $(VENV)/.runtime

$(BENCH)/.synced: uv.lock pyproject.toml | $(BIN)/uv
	@$(subst UV_PROJECT_ENVIRONMENT=$(VENV),UV_PROJECT_ENVIRONMENT=$(BENCH),$(UV)) sync --quiet --frozen --no-dev --all-extras --group bench
	@touch $@
