"""The baseline of classification: what it learns, how it is scored, and what it refuses."""

from __future__ import annotations

import math

import pytest

from ftdemo.data import Labelled, Text, load_splits
from ftdemo.errors import DataError
from ftdemo.evaluation.tfidf import evaluate_tfidf, fit_tfidf

ROWS = [
    Labelled(number, text, label)
    for number, (text, label) in enumerate(
        [
            ("where is my parcel", "delivery"),
            ("the parcel has not come", "delivery"),
            ("parcel late again", "delivery"),
            ("charged twice for one order", "payment"),
            ("you charged my card", "payment"),
            ("why was I charged", "payment"),
        ],
        1,
    )
]


def test_it_survives_typing_errors_because_it_counts_parts_of_words() -> None:
    fitted = fit_tfidf(ROWS)
    assert fitted.labels == ("delivery", "payment")
    assert fitted.classify(["wheres the parcell", "i was chargd"]) == ("delivery", "payment")


def test_its_scores_and_its_loss_are_the_means_of_what_each_row_gets() -> None:
    splits = load_splits("routing", seed=0, examples=64)
    found = evaluate_tfidf(fit_tfidf(splits.train[:64]), splits.heldout, data="routing")  # type: ignore[index]
    assert set(found.scores) == {"accuracy", "macro_f1"}
    assert 1 / 8 < found.scores["accuracy"] < 1
    assert sum(found.outcomes["accuracy"].values) / 160 == pytest.approx(found.scores["accuracy"], abs=1e-3)
    assert sum(loss for loss, _ in found.losses) / 160 == pytest.approx(found.heldout_loss)
    assert found.heldout_loss < math.log(8)


def test_the_same_rows_give_the_same_answers() -> None:
    splits = load_splits("routing", seed=0, examples=64)
    rows = tuple(splits.train)
    assert fit_tfidf(rows).classify(["a", "parcel"]) == fit_tfidf(rows).classify(["a", "parcel"])


@pytest.mark.parametrize("rows", [ROWS[:3], [Text(1, "no label")], []])
def test_rows_that_it_cannot_learn_from_are_refused(rows: list[Labelled]) -> None:
    with pytest.raises(DataError, match="label"):
        fit_tfidf(rows)
