from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "runs/…"
base = AutoModelForCausalLM.from_pretrained("HuggingFaceTB/SmolLM2-135M-Instruct")
tokenizer = AutoTokenizer.from_pretrained(folder)
model = PeftModel.from_pretrained(base, folder)
