def render(messages, to_be_answered=False):
    text = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
    return text + "<|im_start|>assistant\n" * to_be_answered


print(render([{"role": "user", "content": "Is it open?"}], to_be_answered=True))
