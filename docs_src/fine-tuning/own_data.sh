ftdemo inspect mine.jsonl --model smollm2       # look at it first, as the model will read it
ftdemo train lora --model smollm2 --data mine.jsonl
