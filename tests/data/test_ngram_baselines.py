from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence

import pytest

from ftdemo.data import Text
from ftdemo.data.ngram_baselines import entropies
from ftdemo.data.sets import high_street
from ftdemo.data.tokenize import Example, encode_all
from ftdemo.models import new

A, B, C = 0, 1, 2


def example(*tokens: int) -> Example:
    return Example(1, tokens, (False, *(True,) * (len(tokens) - 1)))


def test_a_short_text_has_the_entropies_that_are_worked_out_by_hand() -> None:
    # Of the five predicted tokens of ABABAC two are A, two B and one C. After A comes B twice and C once; after B
    # always A. So three of five tokens have the entropy of (2/3, 1/3), and two have none.
    by_hand = {
        "uniform": math.log(10),
        "unigram": 2 / 5 * math.log(5 / 2) + 2 / 5 * math.log(5 / 2) + 1 / 5 * math.log(5),
        "bigram": 3 / 5 * (2 / 3 * math.log(3 / 2) + 1 / 3 * math.log(3)),
    }
    assert entropies([example(A, B, A, B, A, C)], vocabulary=10) == pytest.approx(by_hand)


def test_a_text_whose_next_token_is_certain_has_no_bigram_entropy() -> None:
    found = entropies([example(A, B, C, A, B, C, A)], vocabulary=3)
    assert found["bigram"] == pytest.approx(0, abs=1e-12)
    assert found["unigram"] == pytest.approx(math.log(3))
    assert found["uniform"] == pytest.approx(math.log(3))


def test_pairs_do_not_reach_from_one_example_into_the_next() -> None:
    # Only C comes after B. Read on from one into the other, a B would come after B, too.
    assert entropies([example(A, B), example(B, C)], vocabulary=3)["bigram"] == 0


def test_only_the_first_examples_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ftdemo.data.ngram_baselines._MOST_EXAMPLES", 2)
    pairs = [example(A, B), example(A, B), example(A, C)]
    assert entropies(pairs, vocabulary=3) == entropies(pairs[:2], vocabulary=3)


@pytest.fixture(scope="module")
def tales() -> Sequence[Example]:
    texts = list(itertools.islice(high_street.documents(0), 300))
    tokenizer = new.train_tokenizer(texts, 512)
    return encode_all((Text(number, text) for number, text in enumerate(texts, 1)), tokenizer, max_length=128)


def test_the_more_is_counted_the_less_surprises(tales: Sequence[Example]) -> None:
    found = entropies(tales, vocabulary=512)
    assert math.log(512) == found["uniform"] > found["unigram"] > found["bigram"] > 0


def test_no_model_of_pairs_does_better_on_these_examples(tales: Sequence[Example]) -> None:
    pairs = Counter(pair for tale in tales for pair in itertools.pairwise(tale.input_ids))
    befores = Counter(before for before, _ in pairs.elements())

    def loss(smoothing: float) -> float:
        """Of a model that has seen these pairs, and keeps some chance for those it has not (Lidstone's rule)."""
        nats = 0.0
        for pair, count in pairs.items():
            nats -= count * math.log((count + smoothing) / (befores[pair[0]] + 512 * smoothing))
        return nats / pairs.total()

    bigram = entropies(tales, vocabulary=512)["bigram"]
    assert loss(0) == pytest.approx(bigram)
    assert loss(0.01) > bigram
