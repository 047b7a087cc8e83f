# The two commands of the README are `make run` and `make test`; each sets up .venv when it has to.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help install run test lint format docs viz mlflow lock clean

help:
	@echo "make run     set up .venv, run all seven pipelines on the sample corpus, say where the results are"
	@echo "make test    set up .venv, run the whole test suite"
	@echo "make lint    ruff, mypy and the import contracts"
	@echo "make docs    write the reference pages of docs/ anew from the code"
	@echo "make viz     build the lineage site and serve it on http://127.0.0.1:4141"
	@echo "make mlflow  serve the runs and the model registry on http://127.0.0.1:5000"
	@echo "make clean   remove everything that runs have made (your inputs in data/01_raw, paid replies and the tag map with your edits stay)"

install: $(READY)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || { echo "Python's venv module is needed (on Debian and Ubuntu: apt-get install python3-venv)"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

run: $(READY)
	$(BIN)/kedro run
	@$(BIN)/kedro where

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)
	$(BIN)/python -m kyara_kedro.reference docs
	$(BIN)/python -m kyara_kedro.site

viz: $(READY)
	$(BIN)/kedro viz build --include-previews
	$(BIN)/kedro viz-offline
	@echo "Lineage: http://127.0.0.1:4141 (Ctrl-C stops the server)"
	$(BIN)/python -m http.server 4141 --bind 127.0.0.1 --directory build

mlflow: $(READY)
	@test -f data/mlflow/mlflow.db || { echo "There are no runs yet: make run"; exit 1; }
	@echo "MLflow: http://127.0.0.1:5000 (Ctrl-C stops the server)"
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(BIN)/mlflow server --workers 1 --host 127.0.0.1 --port 5000 \
		--backend-store-uri sqlite:///$(CURDIR)/data/mlflow/mlflow.db

lock:
	rm -rf .lock-venv
	$(PYTHON) -m venv .lock-venv
	.lock-venv/bin/python -m pip install --quiet setuptools torch==2.13.0
	.lock-venv/bin/python -m pip install --quiet --editable '.[train,viz,dev]'
	.lock-venv/bin/python -m pip freeze --exclude-editable --exclude pip --all | sed 's/+cpu$$//' > requirements.lock
	rm -rf .lock-venv

clean:
	rm -rf build .viz/stats.json .viz/kedro_pipeline_events.json data/mlflow
	find data -mindepth 2 -maxdepth 2 -not -path 'data/01_raw/*' -not -name .gitkeep -not -name 'replies.db*' -not -name tag_map.csv -exec rm -rf {} +
