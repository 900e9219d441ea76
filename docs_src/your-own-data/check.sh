ftdemo check-data messages.jsonl
