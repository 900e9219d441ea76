with model.disable_adapter():
    before = model.generate(**inputs)
after = model.generate(**inputs)
