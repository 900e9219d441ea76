model = PeftModel.from_pretrained(base, "runs/first")
print(model.get_model_status())  # is it enabled, which adapter is active, is one merged?
print(sum(float(weight.abs().sum()) for name, weight in model.named_parameters() if "lora_B" in name))
with model.disable_adapter():
    ...  # ask here as well, and compare
