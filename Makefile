# make setup        create .venv and install Winnow with the pinned libraries (skipped when nothing changed)
# make search       set-up, then the quickstart search; ARGS="run.name=mine run.seed=1" passes overrides
# make test         set-up, lint, types, import contracts, tests
# make chaos        set-up, then every way in which a run may be hurt, an hour; writes benchmarks/results/chaos.md
# make lint         set-up, lint, types, import contracts
# make constraints  renew the pins in constraints.txt from today's newest releases
# make clean        remove .venv and the caches (runs/ is kept)

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

# What the installation depends on, by content: a fresh clone has new file times.
define inputs
{ printf '%s\n' "$$(pwd -P)"; cat pyproject.toml constraints.txt; }
endef

.DEFAULT_GOAL := help
.PHONY: help setup search test chaos lint constraints clean

help:
	@sed -n 's/^# //p' Makefile | head -n 7

# The record is removed first and written last, so an interrupted installation is done again. An environment that was
# moved here, or that lost its Python, is made anew: its programs name the old place.
setup:
	@if $(inputs) | cmp -s - $(INSTALLED) && $(BIN)/python -c ''; then exit 0; fi; \
	set -e; \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  version=$$($(PYTHON) --version 2>/dev/null) || version='not to be found'; \
	  echo "Winnow needs Python 3.11 or newer, but $(PYTHON) is $$version." \
	    "Name another one: make setup PYTHON=python3.12" >&2; exit 1; }; \
	echo "Setting up $(VENV): a few minutes the first time, most of them for PyTorch."; \
	rm -f $(INSTALLED); \
	{ grep -qsF "$$(pwd -P)/$(VENV)/" $(BIN)/pip && $(BIN)/python -m pip --version >/dev/null 2>&1; } \
	  || $(PYTHON) -m venv --clear $(VENV); \
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[dev]' -c constraints.txt; \
	$(inputs) > $(INSTALLED).new; \
	mv $(INSTALLED).new $(INSTALLED)

search: setup
	@$(BIN)/winnow search configs/quickstart.yaml $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup

chaos: setup
	@$(BIN)/python -m benchmarks.chaos $(ARGS)

# The newest releases that pyproject.toml allows, installed together in a throw-away environment. Make them on Linux:
# other platforms need a subset, and pins of what is not installed do nothing.
constraints:
	@set -e; \
	scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT; \
	$(PYTHON) -m venv "$$scratch"; \
	"$$scratch"/bin/python -m pip install --disable-pip-version-check -e '.[dev,aws]'; \
	{ echo '# Exact versions that set-up installs; made by "make constraints" with CPython' \
	    "$$($(PYTHON) -c 'import platform; print(platform.python_version())')."; \
	  "$$scratch"/bin/python -m pip freeze --all --exclude pip --exclude-editable; } > constraints.txt.new; \
	mv constraints.txt.new constraints.txt

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
