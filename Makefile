# Needs Python >= 3.11 and make; everything else comes from the lock files.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Arguments for the commands behind the targets: make serve ARGS=--help
ARGS   ?=

.PHONY: serve test pytest lint bench fuzz soak lock clean

serve: $(VENV)/runtime.stamp
	@exec $(BIN)/mwl serve $(ARGS)

# The checks run beside the tests, which often wait.
test: $(VENV)/dev.stamp
	@$(MAKE) --no-print-directory --jobs=2 lint pytest

pytest: $(VENV)/dev.stamp
	@$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/dev.stamp
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

bench: $(VENV)/dev.stamp
	@$(BIN)/python -m tests.bench $(ARGS)

# A minute; `FUZZ_S=600 make fuzz` takes ten. What was reached stays in .fuzz.
fuzz: $(VENV)/dev.stamp
	@$(BIN)/python -m tests.fuzz $(ARGS)

# 20,000 messages to each database, while server and database are killed every few seconds.
soak: $(VENV)/dev.stamp
	@$(BIN)/python -m tests.soak $(ARGS)

# A stamp holds what was installed; an unchanged lock skips pip altogether.
# The development lock holds the runtime lock's versions and more.
$(VENV)/runtime.stamp: requirements.lock pyproject.toml | $(BIN)/python
	@echo "installing the runtime into $(VENV) …"
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock pyproject.toml | $(BIN)/python
	@echo "installing the runtime and the test tools into $(VENV) …"
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/runtime.stamp

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
# Without ensurepip it leaves half an environment, which would be taken for a whole one.
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "can't make $(VENV): on Debian and Ubuntu, apt install python3-venv" >&2; exit 1; }

COMPILE = $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 \
	--generate-hashes --no-annotate --no-header --quiet --upgrade

# No header and no index URL: a lock names versions and hashes, never a host.
lock: $(VENV)/dev.stamp
	@$(COMPILE) --group build -o requirements.lock
	@$(COMPILE) --group build --group dev -c requirements.lock -o requirements-dev.lock

clean:
	rm -rf $(VENV) .fuzz .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
