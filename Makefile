# Every target sets up what it needs from a bare Python >= 3.11 with pip.
# Exit codes: 0 right, 1 wrong, 2 could not run.

PYTHON  ?= python3
ENV     ?=
SEED    ?= 1
SEEDS   ?= 100
PROXIES ?= 1
PUBLISH ?=
IMAGE   ?=
LABELS  ?=
ONLY    ?=
SCHEDULER ?= on

# All tests run on up to four workers at once; a worker may hold a whole sandbox (about 900 MiB).
WORKERS := --numprocesses auto --maxprocesses 4 --no-loadscope-reorder

VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
LOCKS  := requirements/uv.txt requirements/dev.txt
CONFIG := $(if $(ENV),terraform/$(ENV),sandbox/config)

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null \
	  || sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1  \2/p' $(MAKEFILE_LIST)

$(READY): $(LOCKS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Python 3.11 or newer is needed: install it, or say which to use: make PYTHON=python3.12 …" >&2; exit 2; }
	@echo "Installing the locked packages into $(VENV) (once) …"
	@$(PYTHON) -m venv $(VENV) || { echo "$(PYTHON) can't make a virtual environment: install python3-venv" >&2; exit 2; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes --compile-bytecode requirements/uv.txt requirements/dev.txt
	@touch $@

.PHONY: setup
setup: $(READY)

.PHONY: terraform-version
terraform-version:
	@terraform version -json 2>/dev/null | $(PYTHON) -c 'import json, sys; \
	  v = json.load(sys.stdin)["terraform_version"].split("-")[0].split("."); sys.exit(tuple(map(int, v)) < (1, 11, 0))' \
	  2>/dev/null || { echo "Terraform 1.11 or newer is needed on PATH: https://developer.hashicorp.com/terraform/install" >&2; exit 2; }

.PHONY: demo
demo: $(READY) ## Drive 300 requests through the whole system and prove the invoice adds up. SEED=n
	@$(BIN)/python -m sandbox.demo --seed $(SEED)

.PHONY: sandbox
sandbox: $(READY) ## Run the whole system here until Ctrl-C. PROXIES=n SCHEDULER=off ENV=dev
	@$(BIN)/python -m sandbox --proxies $(PROXIES) --configuration $(CONFIG) \
	  $(if $(filter off,$(SCHEDULER)),--no-scheduler,--scheduler)

.PHONY: test
test: $(READY) terraform-version lint ## Lint and run all tests. ONLY=path or -k expression
	@$(BIN)/python -m pytest $(or $(ONLY),$(WORKERS))

.PHONY: lint
lint: $(READY) terraform-version ## Check style, types and Terraform's format.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy .
	@terraform fmt -check -recursive modules terraform

.PHONY: fmt
fmt: $(READY) terraform-version ## Format Python and Terraform.
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format --quiet .
	@terraform fmt -recursive modules terraform

SUITES := ledger lifecycle kills speed

.PHONY: bench
bench: $(READY) ## Measure the proxy beside a bare LiteLLM, and the ledger; about a quarter of an hour. ONLY=proxy or ledger
	@$(BIN)/python -m sandbox.bench $(if $(ONLY),--only $(ONLY))

.PHONY: soak
soak: $(READY) ## Run the long tests, months under faults, subscriptions, their speed. ONLY=ledger, kills, lifecycle, speed or path, SEEDS=n
	@$(if $(filter $(SUITES),$(ONLY)),,$(BIN)/python -m pytest -m soak $(ONLY))
	@$(if $(filter-out ledger kills,$(ONLY)),,$(BIN)/python -m tests.faults $(if $(ONLY),--only $(ONLY)) \
	  $(if $(filter file,$(origin SEED)),--seeds $(SEEDS),--seed $(SEED)))
	@$(if $(filter-out lifecycle,$(ONLY)),,$(BIN)/python -m tests.tallygate.subscriptions.lifecycle \
	  $(if $(filter file,$(origin SEEDS)),,--seeds $(SEEDS)))
	@$(if $(filter-out speed,$(ONLY)),,$(BIN)/python -m tests.tallygate.subscriptions.speed)

.PHONY: release
release: $(READY) ## Build what is deployed from this commit and record it. ENV=dev PUBLISH=yes IMAGE=keep BASE_IMAGE=python@sha256:…
	@$(BIN)/python -m delivery release --env '$(ENV)' $(if $(filter yes,$(PUBLISH)),--publish) $(if $(filter keep,$(IMAGE)),--keep-image) $(if $(BASE_IMAGE),--base-image '$(BASE_IMAGE)')

.PHONY: check
check: $(READY) ## Check an environment's release file, catalogue and plans. ENV=dev
	@$(BIN)/python -m delivery check --env '$(ENV)'

.PHONY: plan
plan: $(READY) terraform-version ## Plan an environment, judge the plan, save both. ENV=dev LABELS=prod-delete
	@$(BIN)/python -m delivery plan --env '$(ENV)' $(foreach label,$(LABELS),--label '$(label)')

.PHONY: apply
apply: $(READY) terraform-version ## Apply the plan that make plan saved, if it still may be. ENV=dev
	@$(BIN)/python -m delivery apply --env '$(ENV)' $(foreach label,$(LABELS),--label '$(label)')

.PHONY: drift
drift: $(READY) terraform-version ## Compare what runs with the environment's files. ENV=prod
	@$(BIN)/python -m delivery drift --env '$(ENV)'

.PHONY: smoke
smoke: $(READY) ## Ask a gateway for everything once: a sandbox, or ENV=dev
	@$(BIN)/python -m delivery smoke --env '$(ENV)'

.PHONY: promote
promote: $(READY) ## Copy an environment's release, catalogue and plans to the next one's folder. ENV=dev
	@$(BIN)/python -m delivery promote --env '$(ENV)'

.PHONY: copy-artifacts
copy-artifacts: $(READY) ## Copy the artifacts that were promoted from the environment before. ENV=staging
	@$(BIN)/python -m delivery copy-artifacts --env '$(ENV)'

.PHONY: docs
docs: $(READY) ## Check that documents keep their word: links, tables, and the commands of the task pages.
	@$(BIN)/python -m pytest tests/docs tests/delivery/test_playbooks.py

.PHONY: audit
audit: $(READY) ## Look the locked packages up among known vulnerabilities (needs the network).
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python build/audit
	@$(BIN)/uv pip sync --quiet --python build/audit/bin/python --require-hashes requirements/audit.txt
	@build/audit/bin/pip-audit --strict --disable-pip --require-hashes -r requirements/proxy.txt -r requirements/functions.txt

.PHONY: lock
lock: $(READY) ## Resolve the requirements anew into hashed locks.
	@for name in uv dev audit; do $(COMPILE) requirements/$$name.in -o requirements/$$name.txt; done
	@for name in proxy functions; do $(COMPILE) requirements/$$name.in -c requirements/dev.txt -o requirements/$$name.txt; done

COMPILE := $(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-header --no-annotate
