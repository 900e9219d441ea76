ftdemo train scratch --data mine.jsonl --vocabulary 512
ftdemo train full --model smollm2 --data mine.jsonl
