from math import exp, log

given = [0.5, 0.25, 0.125]
loss = -sum(log(p) for p in given) / len(given)
print(f"loss {loss:.3f} nats, perplexity {exp(loss):.2f}")
