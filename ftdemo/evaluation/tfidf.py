"""TF-IDF with logistic regression: the classifier without a neural network that any fine-tuned one should beat."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ftdemo.data import AnyRow, Labelled
from ftdemo.errors import DataError
from ftdemo.evaluation.evaluate import mean_scores
from ftdemo.evaluation.outcomes import Outcomes, score_outcomes
from ftdemo.events import Answer

_N_GRAMS = (3, 5)
_C = 10.0


@dataclass(frozen=True)
class TfidfClassifier:
    """A fitted baseline."""

    labels: tuple[str, ...]
    """The classes, sorted."""
    parameters: int
    """Weights of the logistic regression."""
    seconds: float
    """That fitting it took."""
    pipeline: Any
    """The vectorizer and the regression, as scikit-learn's pipeline."""

    def classify(self, texts: Sequence[str]) -> tuple[str, ...]:
        """The label of each text."""
        return tuple(map(str, self.pipeline.predict(list(texts))))

    def label_losses(self, rows: Sequence[Labelled]) -> list[tuple[float, int]]:
        """For each row the cross-entropy of its label, in nats, and 1: as `row_losses` gives them for a network.

        A label that no training example has gets infinity.
        """
        import numpy

        chances = numpy.log(self.pipeline.predict_proba([row.text for row in rows]))
        places = {label: place for place, label in enumerate(self.labels)}
        return [
            (float(-chance[places[row.label]]) if row.label in places else float("inf"), 1)
            for chance, row in zip(chances, rows, strict=True)
        ]


@dataclass(frozen=True)
class BaselineResult:
    """A baseline's answers to held-out examples."""

    answers: tuple[Answer, ...]
    scores: dict[str, float]
    """Accuracy and macro F1, from 0 to 1."""
    losses: tuple[tuple[float, int], ...]
    """For each row the cross-entropy of its label, in nats, and 1."""
    outcomes: dict[str, Outcomes]
    """How each row's answer scored, by the score's name: ``accuracy``."""

    @property
    def heldout_loss(self) -> float:
        """Mean cross-entropy of the labels, in nats."""
        return sum(loss for loss, _ in self.losses) / len(self.losses)


def fit_tfidf(rows: Sequence[AnyRow]) -> TfidfClassifier:
    """Fit the baseline on texts with labels.

    Runs of three to five characters within words are counted, because they survive typing errors; a count n weighs
    1 + ln n, times the inverse document frequency (Spärck Jones 1972). On the training examples of `routing`, five-fold
    cross-validation gives 69% with them and 66% with whole words, and hardly depends on C. So nothing is tuned here.

    Args:
        rows: Texts with at least two labels.

    Raises:
        DataError: If they have no labels, or only one.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    labelled = _labelled(rows)
    labels = tuple(sorted({row.label for row in labelled}))
    if len(labels) < 2:
        what = f"A classifier needs two labels or more, but the training examples have {len(labels)}."
        raise DataError(what, 'Add examples like {"text": …, "label": …} with another label.')
    began = time.perf_counter()
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=_N_GRAMS, sublinear_tf=True)
    pipeline = make_pipeline(vectorizer, LogisticRegression(C=_C, max_iter=1000))
    pipeline.fit([row.text for row in labelled], [row.label for row in labelled])
    regression = pipeline[-1]
    parameters = int(regression.coef_.size + regression.intercept_.size)
    return TfidfClassifier(labels, parameters, time.perf_counter() - began, pipeline)


def evaluate_tfidf(fitted: TfidfClassifier, rows: Sequence[AnyRow], *, data: str) -> BaselineResult:
    """Classify held-out examples, and score the answers as those of a fine-tuned classifier are scored.

    Args:
        fitted: What `fit_tfidf` gave.
        rows: Texts with labels that it was not fitted on.
        data: The data set's name.

    Raises:
        DataError: If the rows have no labels.
    """
    labelled = _labelled(rows)
    predicted = fitted.classify([row.text for row in labelled])
    answers = tuple(Answer(row.text, label, row.label, True) for row, label in zip(labelled, predicted, strict=True))
    return BaselineResult(
        answers=answers,
        scores=mean_scores(answers, labelled, data),
        losses=tuple(fitted.label_losses(labelled)),
        outcomes=score_outcomes(answers, labelled, data),
    )


def _labelled(rows: Sequence[AnyRow]) -> list[Labelled]:
    labelled = [row for row in rows if isinstance(row, Labelled)]
    if not labelled or len(labelled) < len(rows):
        raise DataError(
            "The examples have no labels, which a classifier needs.", 'Write each like {"text": …, "label": …}.'
        )
    return labelled
