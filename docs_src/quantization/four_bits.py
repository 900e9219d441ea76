weights = [0.12, -0.50, 0.33, 0.02]
scale = max(abs(w) for w in weights) / 7
codes = [round(w / scale) for w in weights]
print(codes)
print([round(code * scale, 3) for code in codes])
