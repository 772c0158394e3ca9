# The front door. `make book` and `make test` need nothing but Python 3.11 or 3.12 and make.

.PHONY: help book test test-cluster bench faults serve data run record lint clean pdf

PYTHON ?= $(shell for p in python3.12 python3.11 python3; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null \
	&& echo $$p && break; done)
BIN := .venv/bin
READY := .venv/ready
export PATH := $(CURDIR)/$(BIN):$(PATH)

help:  ## What can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(READY): env/lock.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed: set PYTHON=/path/to/it" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r env/lock.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

data: $(READY)  ## Get the open data that can be had
	@ballbook data get

book: data  ## Environment, data, all notebooks, rendered book
	@ballbook build

test: $(READY)  ## Environment and all tests
	@ruff check . && ruff format --check . && mypy
	@pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# Snakemake's executors, only for who has a cluster.
CLUSTER := .venv/cluster
$(CLUSTER): env/cluster-lock.txt $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r env/cluster-lock.txt
	@touch $(CLUSTER)

test-cluster: $(CLUSTER)  ## As root on Debian: a real SLURM on this machine runs the book and a sweep
	@command -v slurmctld >/dev/null && command -v slurmdbd >/dev/null || env/slurm/test-cluster install
	@python tests/cluster/prove.py --out data/recorded/cluster
	@python tests/cluster/prove_kubernetes.py --out data/recorded/cluster

bench: $(READY)  ## How long builds take, beside Jupyter Book's own executor (15 minutes)
	@python -m ballbook.bench --out data/recorded/bench

faults: $(READY)  ## What becomes of builds that are killed, starved or hung (30 minutes, Linux)
	@python -m ballbook.faults --out data/recorded/faults

run: $(READY)  ## One analysis: make run ANALYSIS=ikzf1-outcome COHORT=my-cohort.csv
	@ballbook run $(ANALYSIS) $(if $(COHORT),--cohort "$(COHORT)") $(if $(OUT),--out "$(OUT)")

serve: book  ## Look at the book at http://localhost:8000
	@$(BIN)/python -m http.server --bind 127.0.0.1 --directory build/html 8000

record: data  ## Run what changed, keep the runs and the verdicts as the record
	@ballbook build --pages-only && ballbook record

pdf: book  ## Each page as PDF, printed by Chromium
	@mkdir -p build/pdf
	@for f in build/html/*/*.html; do chromium --headless --no-sandbox --disable-gpu --no-pdf-header-footer \
		--print-to-pdf="build/pdf/$$(basename $$f .html).pdf" "$$f" >/dev/null 2>&1; done; ls build/pdf

lint: $(READY)  ## Format and lint
	@ruff check --fix . ; ruff format . ; mypy

clean:  ## Remove everything that was made, keep the environment
	@rm -rf build .snakemake .pytest_cache .mypy_cache .ruff_cache .hypothesis
