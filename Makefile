# Everything happens in .venv/ and var/; `make clean` removes both. Another Python: make PYTHON=/path/to/python3.12 setup
# Recipes name paths relative to this folder, for make splits names at spaces and the folder's own name may have some.

.DEFAULT_GOAL := help
.PHONY: help setup demo run seed test lint chaos fuzz bench train audit lock stop clean
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory

PYTHON ?=
PHOTOS ?=
FOLDER ?=
PORT ?=
N ?= 20000
ARGS ?=
PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet
CODE := mask_social moderation incentives ml tests manage.py

help: ## print this
	@echo "make ..."
	@sed -n 's/^\([a-z]*\):[^#]*## /\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r name text; do printf '  %-8s %s\n' "$$name" "$$text"; done

setup: .venv/.run ## install what demo and run need into .venv

demo: .venv/.run ## the whole job once; with your own pictures: make demo PHOTOS=folder
	@$(PY) -m mask_social.demo $(if $(PHOTOS),--photos "$(PHOTOS)") $(ARGS)

run: .venv/.run ## serve on 127.0.0.1 until Ctrl-C; another port: make run PORT=9000
	@$(PY) -m mask_social.stack $(if $(PORT),--port $(PORT)) $(ARGS)

seed: .venv/.run ## fill the database with 90 invented days; more or fewer posts: make seed N=1000000
	@$(PY) manage.py seed --posts $(N) $(ARGS)

test: lint ## every check: lint, then the tests; some of them: make test ARGS="tests/moderation -k gps"
	$(PY) -m pytest $(ARGS)

lint: .venv/.dev ## style, types, import rules, migrations, deployment settings
	$(PY) -m ruff check $(CODE)
	$(PY) -m ruff format --check $(CODE)
	$(PY) -m mypy $(CODE)
	.venv/bin/lint-imports
	$(PY) manage.py makemigrations --check --dry-run
	@echo "$(PY) manage.py check --deploy"
	@MASK_SOCIAL_SECRET_KEY="$$($(PY) -c 'import secrets; print(secrets.token_urlsafe(50))')" \
	MASK_SOCIAL_ALLOWED_HOSTS=masks.example.org $(PY) manage.py check --deploy --fail-level WARNING

chaos: .venv/.run ## pull every plug for eight minutes; options: make chaos ARGS="--help"
	@$(PY) -m mask_social.chaos $(ARGS)

fuzz: .venv/.dev ## 100,000 spoilt pictures, then every call of the API; more of these: make fuzz ARGS="--examples 200"
	$(PY) -m tests.fuzz.decoder
	$(PY) -m tests.fuzz.api $(ARGS)

bench: .venv/.run ## measure ours beside other detectors, and the service; a part: make bench ARGS=end-to-end
	$(PY) -m mask_social.bench $(if $(PHOTOS),--photos "$(PHOTOS)") $(ARGS)

train: .venv/.train ## train all networks anew; with your own photos: make train FOLDER=folder; options: ARGS="--help"
	$(PY) -m ml.training $(if $(FOLDER),--folder "$(FOLDER)") $(ARGS)

audit: .venv/.dev ## ask the package index's advisories about what the locks pin; needs a network
	$(PY) -m pip_audit --requirement requirements-dev.lock --no-deps --disable-pip
	$(PY) -m pip_audit --requirement requirements.lock --no-deps --disable-pip

lock: .venv/pyvenv.cfg ## pin what pyproject.toml asks for; newer versions: make lock ARGS=--upgrade
	@mkdir -p var
	@test -x var/uv/bin/uv || { $(PY) -m venv var/uv && var/uv/bin/python -m pip --quiet install uv; }
	var/uv/bin/uv pip compile $(ARGS) --quiet --universal --python-version 3.11 --no-header --no-emit-index-url \
		pyproject.toml -o requirements.lock
	var/uv/bin/uv pip compile $(ARGS) --quiet --universal --python-version 3.11 --no-header --no-emit-index-url \
		--extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock

stop: ## end the databases of this checkout, whoever holds them
	@test ! -x $(PY) || $(PY) -m mask_social.embedded stop

clean: ## remove .venv, var with all data, and caches
	@test ! -x $(PY) || $(PY) -m mask_social.embedded remove || true
	rm -rf .venv var build .hypothesis .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

# The first Python that runs (a shim of pyenv may not) and can make a virtual environment.
.venv/pyvenv.cfg:
	@for python in $(if $(PYTHON),"$(PYTHON)",python3.12 python3.11 python3 python3.13 python3.14 python); do \
		if "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
			echo "Making .venv with $$("$$python" --version)"; exec "$$python" -m venv .venv; \
		fi; \
	done; \
	echo "error: $(if $(PYTHON),$(PYTHON) is not,there is no) Python 3.11 or newer with its venv module here: install one (Debian: python3-venv), or name one by make PYTHON=/path/to/python3.12" >&2; exit 1

.venv/.run: requirements.lock | .venv/pyvenv.cfg
	@echo "Installing the packages of requirements.lock (a minute or two) ..."
	@$(PIP) install -r requirements.lock
	@touch $@

.venv/.dev: requirements-dev.lock .venv/.run
	@echo "Installing the packages of requirements-dev.lock ..."
	@$(PIP) install -r requirements-dev.lock
	@touch $@

.venv/.train: .venv/.dev
	@echo "Installing PyTorch ..."
	@$(PIP) install torch==2.13.0
	@touch $@
