ftdemo train lora --model smollm2 --data mine.jsonl --sample-prompts 60
