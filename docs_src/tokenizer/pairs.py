from collections import Counter

word = list("banana")
pairs = Counter(zip(word, word[1:]))
print(pairs.most_common(2))
