base = AutoModelForCausalLM.from_pretrained("the base's Hub id or folder", dtype=torch.float32)
model = PeftModel.from_pretrained(base, "runs/first").eval()
inputs = tokenizer("Any text", return_tensors="pt")
with torch.no_grad():
    beside = model(**inputs).logits
    merged = model.merge_and_unload()
    after = merged(**inputs).logits
print((beside - after).abs().max(), (beside.argmax(-1) == after.argmax(-1)).float().mean())
