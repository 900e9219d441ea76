ftdemo train lora --model smollm2 --data mine
