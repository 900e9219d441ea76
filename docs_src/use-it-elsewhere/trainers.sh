ftdemo export runs/mine --as peft-trl --out with-trl
ftdemo export lora --as axolotl --out with-axolotl --model meta-llama/Llama-3.1-8B-Instruct --size 8B
