import math
import random
import re
from collections import Counter

from ftdemo.data import load_splits


def words(text):
    return re.findall(r"[a-z0-9']+", text.lower())


def accuracy(rows, unseen):
    counts = {label: Counter() for label in sorted({row.label for row in rows})}
    for row in rows:
        counts[row.label].update(words(row.text))
    known = set().union(*counts.values())
    totals = {label: count.total() + len(known) for label, count in counts.items()}

    def score(text, label):
        return sum(math.log((counts[label][word] + 1) / totals[label]) for word in words(text) if word in known)

    return sum(max(counts, key=lambda label: score(row.text, label)) == row.label for row in unseen) / len(unseen)


def first_of_each_label(rows, count):
    taken = Counter()
    for row in rows:
        taken[row.label] += 1
        if taken[row.label] <= count:
            yield row


for per_label in (1, 4, 16, 60):
    each = []
    for seed in range(3):
        splits = load_splits("shop-mail", seed=seed)
        rows = list(splits.train)
        random.Random(seed).shuffle(rows)  # the same messages as in the runs above
        each.append(accuracy(list(first_of_each_label(rows, per_label)), splits.heldout))
    print(f"{6 * per_label:>3} labels: {sum(each) / 3:.0%}")
