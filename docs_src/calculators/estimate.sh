ftdemo estimate --model smollm2 --data mine.jsonl --gpu H100 --price 0.50
ftdemo estimate --model ./folder-with-config.json --method qlora --rank 16 --gpu L4 --gpu A100
