ftdemo train full                       # tiny learns to turn customers' messages into tickets
ftdemo train lora                       # the same by LoRA
ftdemo train lora --model smollm2       # a real chat model learns the same job
ftdemo evaluate runs/…                  # the folder that training names: before and after, with the old skill
ftdemo chat runs/…
ftdemo demo lora                        # in the browser, on this machine
