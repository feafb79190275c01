# Everything a developer or CI does. `make` alone lists it. All set-up happens by itself: .venv (what runs and tests the
# project), build/tools (what builds it), build/node_modules (buf), build/claude (Claude Code for its tests). Works with
# GNU make 3.81 and newer.

SHELL := /bin/sh
PYTHON_BIN := .venv/bin/python
TOOLS_BIN := build/tools/bin/python
BUF := build/node_modules/.bin/buf
BUF_VERSION := 1.75.0
# The real Claude Code, for its acceptance tests.
CLAUDE_VERSION := 2.1.329
CLAUDE_READY := build/claude/.ready-$(CLAUDE_VERSION)
PROTOS := $(shell find proto -name '*.proto')
# Tests see no network but loopback.
OFFLINE := $(PYTHON_BIN) tests/support/loopback_only.py
# Most tests wait for processes, so three at once take less than half the time on two cores (241 s and 100 s for 1,300).
# The tests of one module stay together and share its fixtures.
WORKERS ?= 3
# More arguments for the program behind a target: make test ARGS='-k store -x'.
ARGS ?=

READY := .venv/.ready
TOOLS_READY := build/tools/.ready
STUBS_READY := build/.stubs
WHEELS_READY := build/wheels/.ready

# pip's own words for a missing network tell of retries and of versions that do not exist.
NOT_INSTALLED := { echo "The packages were not installed, for the reason above. They come from pypi.org: where the network is \
away, run the same again when it is back, or name a mirror in PIP_INDEX_URL." >&2; exit 1; }

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run test check check-format lint format types proto check-proto proto-baseline bench experiments faults chaos \
	docs check-docs dist deb pins clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

## Set-up

$(READY): pyproject.toml constraints.txt constraints-build.txt scripts/find_python.sh
	@python=$$(scripts/find_python.sh) || exit 1; \
	if ! $(PYTHON_BIN) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		echo "making .venv with $$python"; rm -rf .venv; "$$python" -m venv .venv; fi
	@echo "installing the packages into .venv: about a minute"
	@{ $(PYTHON_BIN) -m pip install --quiet --disable-pip-version-check --upgrade -c constraints.txt pip && \
	$(PYTHON_BIN) -m pip install --quiet -c constraints.txt --build-constraint constraints-build.txt \
		--group dev --editable '.[codex,demo,gateway,gateway-proxy,mcp,otel,postgresql]'; } || $(NOT_INSTALLED)
	@touch $@

$(TOOLS_READY): pyproject.toml constraints-build.txt scripts/find_python.sh
	@python=$$(scripts/find_python.sh) || exit 1; \
	if ! $(TOOLS_BIN) -c '' 2>/dev/null; then rm -rf build/tools; "$$python" -m venv build/tools; fi
	@echo "installing the tools of the build into build/tools: a few seconds"
	@{ $(TOOLS_BIN) -m pip install --quiet --disable-pip-version-check --upgrade -c constraints-build.txt pip && \
	$(TOOLS_BIN) -m pip install --quiet -c constraints-build.txt --group build; } || $(NOT_INSTALLED)
	@touch $@

$(STUBS_READY): $(TOOLS_READY) hatch_build.py $(PROTOS)
	@$(TOOLS_BIN) hatch_build.py
	@touch $@

# The dependencies as wheels, so that packages can be built, and tested, without a network.
$(WHEELS_READY): $(READY)
	rm -rf build/wheels
	$(PYTHON_BIN) -m pip wheel --quiet -c constraints.txt -w build/wheels '.[gateway,gateway-proxy]'
	@rm -f build/wheels/codex_supervisor-*.whl; touch $@

# buf's program comes as a platform package of its own, so its install script, which only saves a start of node, is not
# run, and it needs no network later.
$(BUF):
	@command -v npm >/dev/null || { \
		echo "npm was not found, and buf comes from it: install Node.js ('apt-get install npm', 'brew install node')." >&2; \
		exit 1; }
	npm install --prefix build --no-save --no-package-lock --no-audit --no-fund --ignore-scripts --loglevel=error \
		@bufbuild/buf@$(BUF_VERSION)

# 370 MB. Its program comes as a platform package of its own, so no install script is run. Without npm its tests are left
# out; with CI=true they then fail.
$(CLAUDE_READY):
	@command -v npm >/dev/null || { echo "npm was not found: no tests with the real Claude Code" >&2; exit 0; }; \
	rm -rf build/claude && mkdir -p build/claude && \
	npm install --prefix build/claude --no-save --no-package-lock --no-audit --no-fund --ignore-scripts \
		--loglevel=error @anthropic-ai/claude-code@$(CLAUDE_VERSION) && touch $@

## What people run

run: $(READY) $(STUBS_READY) ## Set up, start the service, and ask Codex a first question
	@scripts/first_question.sh

test: $(READY) $(STUBS_READY) $(WHEELS_READY) $(CLAUDE_READY) ## Run the tests, without a network; ARGS='-k name' picks some, WORKERS=0 runs them one by one
	@$(OFFLINE) $(PYTHON_BIN) -m pytest --numprocesses $(WORKERS) --dist loadscope $(ARGS)

check: check-format lint types check-proto check-docs test ## All that CI checks; the tests come last

lint: $(READY) ## Find mistakes
	$(PYTHON_BIN) -m ruff check

format: $(READY) $(BUF) ## Rewrite the sources in the one format
	$(PYTHON_BIN) -m ruff format
	$(PYTHON_BIN) -m ruff check --fix-only --quiet
	$(BUF) format --write

check-format: $(READY)
	$(PYTHON_BIN) -m ruff format --check

types: $(READY) $(STUBS_READY) ## Check the types, strictly
	$(PYTHON_BIN) -m mypy
	$(PYTHON_BIN) -m mypy scripts packaging deploy tests

proto: $(STUBS_READY) ## Generate the Python stubs of the API

check-proto: $(BUF)
	$(BUF) format --diff --exit-code
	$(BUF) lint
	$(BUF) breaking --against proto/baseline.json

proto-baseline: $(BUF) ## Make the API as it is now the one that may not be broken; part of a release
	$(BUF) build --exclude-source-info -o proto/baseline.json

docs: $(READY) $(STUBS_READY) ## Write anew what comes from the sources: pages of docs/, Grafana dashboards
	$(PYTHON_BIN) -m scripts.generate_docs

check-docs: $(READY) $(STUBS_READY)
	$(PYTHON_BIN) -m scripts.generate_docs --check
	$(PYTHON_BIN) -m scripts.check_links

# A rival of the gateway in its benchmark: 400 MB. Without PyPI its rows say that it is missing.
LITELLM_VERSION := 1.106.2
LITELLM_READY := build/litellm/.ready-$(LITELLM_VERSION)

$(LITELLM_READY): $(READY)
	@rm -rf build/litellm && $(PYTHON_BIN) -m venv build/litellm && \
	build/litellm/bin/python -m pip install --quiet --disable-pip-version-check 'litellm[proxy]==$(LITELLM_VERSION)' && \
	touch $@ || { echo "LiteLLM could not be installed: the benchmark does without" >&2; rm -rf build/litellm; }

bench: $(READY) $(STUBS_READY) $(LITELLM_READY) ## Measure; writes figures, judges nothing
	$(OFFLINE) $(PYTHON_BIN) -m tests.bench $(ARGS)

experiments: $(READY) $(STUBS_READY) ## Answer three questions about the gateway's conversions; reports in build/experiments
	$(OFFLINE) $(PYTHON_BIN) -m tests.experiments $(ARGS)

faults: $(READY) $(STUBS_READY) ## Inject each known fault and check what a user sees
	$(OFFLINE) $(PYTHON_BIN) -m pytest tests/faults $(ARGS)

chaos: $(READY) $(STUBS_READY) ## Kill processes at random under load, then audit; ARGS='--seconds 600 --seed 1'
	$(OFFLINE) $(PYTHON_BIN) -m tests.faults.chaos $(ARGS)

dist: $(TOOLS_READY) ## Build the source archive, the wheel and the Homebrew formula into dist/; RELEASE_URL=where it will be
	rm -rf dist
	$(TOOLS_BIN) -m build --no-isolation --outdir dist .
	$(TOOLS_BIN) packaging/homebrew/write_formula.py dist/codex_supervisor-*.tar.gz --url '$(RELEASE_URL)' \
		--out dist/codex-supervisor.rb

deb: dist $(READY) $(WHEELS_READY) ## Build the Debian package into dist/
	$(PYTHON_BIN) packaging/debian/build_deb.py dist/codex_supervisor-*.whl --wheels build/wheels --out dist

pins: ## Look for newer versions of everything and write them to constraints*.txt
	scripts/renew_pins.sh

clean: ## Remove all that was made, the environments too
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find proto -name '*_pb2*.py*' -delete
	find proto supervisor ctl gateway tests -name __pycache__ -prune -exec rm -rf {} +
