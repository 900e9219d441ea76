text = [0, 0, 0, 1, 1]  # which text each token of the row belongs to
for i in range(5):
    print(*[int(j <= i and text[j] == text[i]) for j in range(5)])
