ftdemo train lora --rank 1
ftdemo train lora --examples 10
ftdemo train lora --lr 0.0003
ftdemo train lora --model smollm2          # a real chat model: a minute or two
