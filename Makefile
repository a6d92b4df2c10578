# Short verbs; each sets up what it needs. `make` lists them.
SHELL := /bin/sh
VENV := .venv
CLIENTS := .venv-clients
PORT ?= 8000
ACCLIMATE_HOME ?= .acclimate
PYTHON ?= python3

.PHONY: help setup run test test-all test-clients faults soak bench-streams surfaces lint clean

help: ## list the verbs
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 16

setup: $(VENV)/.ready ## make .venv with everything the tests and the demo need (ACCLIMATE_TORCH=cpu for a CPU build of torch)

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "acclimate needs Python >= 3.11 with venv; $(PYTHON) is $$($(PYTHON) --version 2>&1). Set PYTHON=python3.11 or newer." >&2; exit 1; }
	@echo "setting up $(VENV) (one to two minutes)" >&2
	@rm -rf $(VENV) && $(PYTHON) -m venv $(VENV)
	@if [ "$$ACCLIMATE_TORCH" = cpu ]; then \
	  $(VENV)/bin/python -m pip install -q --disable-pip-version-check uv && VIRTUAL_ENV=$(VENV) $(VENV)/bin/uv pip install -q --torch-backend=cpu -c constraints.txt -e '.[test]'; \
	else \
	  $(VENV)/bin/python -m pip install -q --no-compile --disable-pip-version-check -c constraints.txt -e '.[test]'; \
	fi
	@$(VENV)/bin/python -m compileall -q -j 0 $(VENV)/lib >/dev/null 2>&1 || true # each trainer is a new process: it starts four times faster
	@touch $@

run: setup ## the main job on real data: digits that slowly turn; keeps serving until Ctrl-C
	@exec $(VENV)/bin/acclimate demo --home "$(ACCLIMATE_HOME)" --port "$(PORT)"

# Two speeds, by the markers of pyproject.toml; each test that needs no GPU is in one of them (tests/house/test_speeds.py).
FAST := not (slow or postgres or drill or soak or gpu)
REST := (slow or postgres) and not (drill or soak or gpu)
# Tests start many processes, and each would compile the product anew in a shell that forbids to keep what was compiled.
PYTEST := PYTHONDONTWRITEBYTECODE= $(VENV)/bin/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder --durations=25

test: setup ## some minutes: the product's main job over real processes on SQLite, every rule of learning, style and types
	@$(PYTEST) -m "$(FAST)"

test-all: test ## test, and then what takes longer: Postgres everywhere, faults, attacks, whole streams
	@$(PYTEST) -m "$(REST)"

test-clients: $(CLIENTS)/.ready ## the tests with clients that others wrote (tritonclient), in an environment of their own
	@exec $(CLIENTS)/bin/python -m pytest tests/clients

# Over $(VENV), which it sees and leaves as it is; a client that needs another version of a package gets it here alone.
$(CLIENTS)/.ready: $(VENV)/.ready pyproject.toml constraints.txt
	@echo "setting up $(CLIENTS) (some seconds)" >&2
	@rm -rf $(CLIENTS) && $(VENV)/bin/python -m venv $(CLIENTS)
	@$(CLIENTS)/bin/python -c 'import pathlib, sys, sysconfig; \
	  pathlib.Path(sysconfig.get_path("purelib"), "below.pth").write_text(f"import site; site.addsitedir({sys.argv[1]!r})\n")' \
	  "$$($(VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
	@$(CLIENTS)/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[clients]'
	@touch $@

# Part N has passed, with the code that there is: a part that was broken off, or whose code changed, runs again.
FAULTS := .bench/faults
FAULTS_1 := tests/faults/test_recorder_kills.py tests/faults/test_sync_order.py tests/faults/test_kills.py tests/faults/test_stages.py tests/storage/test_runs_and_promotions.py
FAULTS_2 := tests/faults/test_frozen_database.py tests/faults/test_broker.py tests/faults/test_hanging_trainers.py tests/faults/test_forged_messages.py tests/faults/test_clocks.py
FAULTS_3 := tests/faults/test_replicas.py tests/faults/test_frozen_replica.py tests/faults/test_absent_replica.py tests/faults/test_full_disk.py tests/faults/test_unreachable_store.py tests/faults/test_upgrades.py tests/faults/test_other_machines.py

faults: $(FAULTS)/1.passed $(FAULTS)/2.passed $(FAULTS)/3.passed ## the fault drills, all of them, in three parts that resume; each ends with a table

$(FAULTS)/%.passed: $(VENV)/.ready $(shell find acclimate service workers migrations tests -name '*.py')
	@mkdir -p $(FAULTS)
	@$(VENV)/bin/python -m pytest -m "not gpu and not soak" $(FAULTS_$*)
	@touch $@

soak: setup ## twenty minutes of swaps under load: memory, descriptors, threads, keys, and their slopes
	@exec $(VENV)/bin/python -m pytest -m soak -s tests/faults/test_soak.py

bench-streams: setup ## what learning gains and harms on drifting streams (QUICK=1 under ten minutes, ONLY=digits,gas, ABLATE=rule,... without each rule, FLAGS="--seeds 0"); resumes
	@exec $(VENV)/bin/python -m benchmarks.streams $(if $(QUICK),--quick) $(if $(ONLY),--only "$(ONLY)") $(if $(ABLATE),--ablate "$(ABLATE)") $(FLAGS)

surfaces: setup ## rewrite tests/house/surfaces (routes, settings, metrics); review the difference
	@PYTHONPATH=. $(VENV)/bin/python tests/house/surfaces.py

lint: setup ## ruff and mypy alone (the tests run them too)
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy

clean: ## remove the virtual environment and the caches, never the data
	rm -rf $(VENV) $(CLIENTS) .pytest_cache .mypy_cache .ruff_cache .hypothesis
