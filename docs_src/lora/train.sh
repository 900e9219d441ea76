ftdemo train lora --model smollm2                       # customers' messages become tickets
ftdemo train lora --model smollm2 --rank 16 --seed 1
ftdemo train lora        # the same on a model of three million parameters: half a minute
ftdemo chat runs/…       # the folder that training names
ftdemo demo lora         # the demo, on this machine
