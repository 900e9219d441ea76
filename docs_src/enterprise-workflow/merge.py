import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained("the base's Hub id or folder", dtype=torch.float32)
model = PeftModel.from_pretrained(base, "runs/first")
tokenizer = AutoTokenizer.from_pretrained("runs/first")

merged = model.merge_and_unload()  # only if it runs alone
merged.save_pretrained("merged")
tokenizer.save_pretrained("merged")
