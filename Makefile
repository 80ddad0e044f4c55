PYTHON ?= python3
VENV := .venv
VENV_MIN := .venv-min
VENV_PEERS := .venv-peers
VENV_EXTRAS := .venv-extras
# What `salience benchmark --peers` runs beside ours, and never together with ours in one environment.
PEERS := setfit model2vec[distill,train] fasttext
# torch's OpenMP threads and pytest's own process share the cores.
export TOKENIZERS_PARALLELISM := false
# The tests' tiny models are faster on one thread.
test test-min test-slow test-extras: export OMP_NUM_THREADS := 1
# Python's own pip can be years old, and takes half as long again to install all this.
NEW_PIP := -m pip install --quiet --upgrade --constraint constraints.txt pip
# Packages of an environment that is made for tests are compiled as far as they are imported.
COMPILE :=
check test test-min: export PYTHONDONTWRITEBYTECODE :=

.PHONY: help all install train report peers test test-min test-slow test-extras check fix types mypy pages

help:           ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(VENV)/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python $(NEW_PIP)
	$(VENV)/bin/python -m pip install --quiet $(COMPILE) --constraint constraints.txt --editable ".[dev]"
	touch $@

$(VENV_MIN)/.done: pyproject.toml constraints-min.txt
	$(PYTHON) -m venv $(VENV_MIN)
	$(VENV_MIN)/bin/python $(NEW_PIP)
	$(VENV_MIN)/bin/python -m pip install --quiet --no-compile --constraint constraints-min.txt --editable ".[test]"
	touch $@

$(VENV_PEERS)/.done: constraints-peers.txt
	$(PYTHON) -m venv $(VENV_PEERS)
	@for each in $(PEERS); do \
		$(VENV_PEERS)/bin/python -m pip install --quiet --constraint constraints-peers.txt "$$each" || \
		echo "$$each can't be installed here, which the benchmark will say"; done
	touch $@

$(VENV_EXTRAS)/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV_EXTRAS)
	$(VENV_EXTRAS)/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,ray,spark,space]" playwright
	touch $@

# What runs in one process stands side by side: two environments are made, mypy looks, the oldest versions are tested.
all:            ## what must pass before a change lands
	$(MAKE) --jobs 2 COMPILE=--no-compile check test-min
	$(MAKE) test

install: $(VENV)/.done  ## make .venv with pinned versions

train: $(VENV)/.done    ## train on BBC News with a pretrained encoder, three minutes on two cores with bfloat16, ten on others
	$(VENV)/bin/python train.py configuration/recipes/bbc_news/attn_pool.yaml $(ARGS)

report: $(VENV)/.done   ## all about the model of `make train`: runs/bbc_news/report/report.html
	$(VENV)/bin/python eval.py report --model runs/bbc_news $(ARGS)

peers: $(VENV_PEERS)/.done  ## make .venv-peers with the programs that `salience benchmark --peers` runs beside ours

test: $(VENV)/.done     ## all tests but slow and gpu
	$(VENV)/bin/python -m pytest -q --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-slow: $(VENV)/.done  ## the slow tests: whole training runs, two processes, a killed run
	$(VENV)/bin/python -m pytest -q -m slow $(ARGS)

test-extras: $(VENV_EXTRAS)/.done  ## Ray, Spark (needs Java), the Space and pages in a browser (needs Chromium)
	$(VENV_EXTRAS)/bin/python -m pytest -q -m "slow or not slow" tests/eval/space \
		tests/eval/predict/test_predictor_elsewhere.py $(ARGS)

test-min: $(VENV_MIN)/.done  ## models and round trips on the oldest supported versions
	$(VENV_MIN)/bin/python -m pytest -q --numprocesses 2 --dist loadfile --no-loadscope-reorder tests/modeling/test_modeling.py tests/modeling/test_pooling.py \
		tests/modeling/test_windows.py tests/modeling/test_ragged.py tests/modeling/test_hub_roundtrip.py \
		tests/modeling/test_saved_formats.py \
		tests/train/building/test_word_tokenizer.py $(ARGS)

# The folders are mapped to salience.* at install time; mypy finds them under the same names through these links.
types:
	@mkdir -p .types/salience
	@for each in modeling configuration train eval model_cards; do ln -sfn ../../$$each .types/salience/$$each; done

check: $(VENV)/.done mypy  ## ruff and mypy
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

mypy: $(VENV)/.done types
	$(VENV)/bin/mypy

fix: $(VENV)/.done      ## let ruff repair what it can
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

pages: $(VENV)/.done    ## write configuration/README.md, model_cards/results/README.md and the README's table anew
	$(VENV)/bin/python -m salience.configuration.flags.page
	$(VENV)/bin/python -m salience.model_cards.results_page
