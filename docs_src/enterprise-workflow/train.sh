ftdemo train lora --model smollm2 --data mine --sample-prompts 30 --out runs/first
