ftdemo train lora --model smollm2 --data mine.jsonl --sample-prompts 30 --out runs/mine
ftdemo evaluate runs/mine
ftdemo chat runs/mine
