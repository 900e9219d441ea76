ftdemo train lora --out runs/first
