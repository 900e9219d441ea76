"""Baselines for a loss curve: the entropy of the same tokens for models that only count."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from itertools import islice

from ftdemo.data.tokenize import Example

_MOST_EXAMPLES = 20_000


def entropies(examples: Iterable[Example], vocabulary: int) -> dict[str, float]:
    """The entropy of a token for a model that knows nothing, frequencies, or pairs of tokens, in nats per token.

    ``uniform`` is ln(vocabulary). ``unigram`` is the entropy of a token, ``bigram`` that of a token given the one
    before it (Shannon 1951), counted over the first 20,000 of these very examples, so that no model of token pairs
    could have a lower loss on them.
    """
    pairs: Counter[tuple[int, int]] = Counter()
    for example in islice(examples, _MOST_EXAMPLES):
        pairs.update(zip(example.input_ids, example.input_ids[1:], strict=False))
    befores: Counter[int] = Counter()
    tokens: Counter[int] = Counter()
    for (before, token), count in pairs.items():
        befores[before] += count
        tokens[token] += count
    total = pairs.total()
    return {
        "uniform": math.log(vocabulary),
        "unigram": -sum(count / total * math.log(count / total) for count in tokens.values()),
        "bigram": -sum(count / total * math.log(count / befores[before]) for (before, _), count in pairs.items()),
    }
