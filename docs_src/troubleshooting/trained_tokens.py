kept = [token for token, label in zip(row["input_ids"], row["labels"]) if label != -100]
print(repr(tokenizer.decode(kept)))
