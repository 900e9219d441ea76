ftdemo inspect mine.jsonl --model smollm2       # what is trained, token by token
ftdemo doctor                                   # what the machine has, and which number format is used on it
