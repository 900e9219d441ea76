ftdemo train lora --model smollm2 --data mine.jsonl --examples 100 --epochs 2
ftdemo train lora --model smollm2 --data mine.jsonl
