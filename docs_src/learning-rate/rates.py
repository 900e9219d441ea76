for rate in (0.01, 0.3, 1.1):
    w = 1.0
    for _ in range(10):
        w -= rate * 2 * w
    print(rate, round(w, 4))
