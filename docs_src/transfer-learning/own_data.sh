ftdemo train probe --data mine.jsonl
ftdemo train classify --data mine.jsonl
