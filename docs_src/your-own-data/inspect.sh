ftdemo inspect mine.jsonl --model smollm2
