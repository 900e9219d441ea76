ftdemo train lora --model smollm2 --data mine --sample-prompts 30 --lr 0.002 --out runs/slower
ftdemo train lora --model smollm2 --data mine --sample-prompts 30 \
  --epochs 3 --patience 3 --out runs/longer
