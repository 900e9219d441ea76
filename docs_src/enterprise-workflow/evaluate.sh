ftdemo evaluate runs/first
ftdemo evaluate runs/first --data test.jsonl
ftdemo evaluate runs/first --data test.jsonl --json > first.json
