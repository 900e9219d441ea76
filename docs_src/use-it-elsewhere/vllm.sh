vllm serve ./my-model
vllm serve HuggingFaceTB/SmolLM2-135M-Instruct --enable-lora --lora-modules mine=./my-adapter --max-lora-rank 16
