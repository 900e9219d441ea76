hf auth login
hf repos create YOU/lora --type space --space-sdk gradio
hf upload YOU/lora lora-space . --repo-type space
