"""How good a model is: its loss and its scores on held-out examples, and what it still knows besides its task."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ftdemo.data import BUILT_IN, AnyPrompt, AnyRow, Labelled, Row, Text, Trial, constraints, load_splits, stream_rows
from ftdemo.data.batches import collate, plan_batches
from ftdemo.data.builtin import GENERAL_KNOWLEDGE
from ftdemo.data.tokenize import Example, Examples, encode_all
from ftdemo.errors import DataError
from ftdemo.evaluation.fields import compare_fields, parse_object
from ftdemo.evaluation.generate import MAX_NEW_TOKENS, answer_rows
from ftdemo.events import Answer, Sampled
from ftdemo.methods.losses import logits_only_at
from ftdemo.models.layers import precision, refuse_unknown_tokens

if TYPE_CHECKING:
    import numpy
    from transformers import PreTrainedTokenizerBase

_BATCH_TOKENS = 2048
_RESAMPLES = 1000
_CORPUS_QUESTIONS = 60
_MAIN_SCORES = ("constraints", "fields", "exact_match")


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval: 95% of resampled values are in it (the bootstrap, Efron 1979)."""

    value: float
    low: float
    high: float
    rows: int
    """The number of rows that it was measured on."""


def with_interval(figure: Mapping[str, float], form: str) -> str:
    """A figure and its interval in words: "92% (85% to 97%)".

    Args:
        figure: Has ``value``, ``low`` and ``high``.
        form: How numbers are written, ``.0%`` say.
    """
    value, low, high = (format(figure[key], form) for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


@dataclass(frozen=True)
class Evaluation:
    """A model's results, value by value."""

    heldout: dict[str, Estimate]
    """On the held-out examples: ``loss`` (nats per token or label), ``perplexity``, and each score from 0 to 1."""
    old_skill: dict[str, Estimate]
    """On everything else: ``loss`` on general text, ``accuracy`` on questions. Empty for a classifier."""


def answer_and_score(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[AnyPrompt],
    *,
    data: str,
    step: int = 0,
    labels: Sequence[str] = (),
    answer_tokens: int = MAX_NEW_TOKENS,
    until: Callable[[], bool] | None = None,
) -> Sampled:
    """Let the model answer held-out examples, and score its answers.

    Args:
        model: A causal language model, with or without an adapter, or a classifier.
        tokenizer: The model's own.
        rows: Rows that were not trained on. The model writes the last assistant turn of a conversation, continues a
            text, and classifies a labelled text.
        data: The data set's name. A built-in set may bring a checker of its own.
        step: How many optimizer steps the model has taken.
        labels: A classifier's classes.
        answer_tokens: Tokens of an answer, at most.
        until: Once this is true, generation stops.
    """
    began = time.perf_counter()
    if labels:
        answers = classify(model, tokenizer, rows, labels)
    else:
        answers = answer_rows(model, tokenizer, rows, max_new_tokens=answer_tokens, until=until)
    seconds = time.perf_counter() - began
    return Sampled(step=step, answers=answers, scores=mean_scores(answers, rows, data), seconds=seconds)


def classify(
    model: Any, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Any], labels: Sequence[str]
) -> tuple[Answer, ...]:
    """The label that a classifier predicts for each text."""
    import torch

    model.eval()
    answers: list[Answer] = []
    with torch.no_grad():
        for start in range(0, len(rows), 32):
            batch = rows[start : start + 32]
            inputs = tokenizer([row.text for row in batch], padding=True, truncation=True, return_tensors="pt")
            refuse_unknown_tokens(model, tokenizer, inputs["input_ids"])
            inputs.pop("token_type_ids", None)  # training does without them, so evaluation must, too
            best = model(**inputs.to(model.device)).logits.argmax(dim=1).tolist()
            answers += [
                Answer(row.text, labels[number], row.label, True) for row, number in zip(batch, best, strict=True)
            ]
    return tuple(answers)


def mean_scores(answers: Sequence[Answer], rows: Sequence[AnyPrompt], data: str) -> dict[str, float]:
    """The mean of each score over the answers, from 0 to 1; for labels also the macro F1."""
    return {name: round(estimate.value, 4) for name, estimate in estimates(answers, rows, data, resamples=0).items()}


def macro_f1(predicted: Sequence[str], actual: Sequence[str]) -> float:
    """F1 of each class, averaged over the classes that occur: 2 TP / (2 TP + FP + FN)."""
    classes = sorted({*predicted, *actual})
    return sum(_f1(name, predicted, actual) for name in classes) / len(classes)


def confusion(answers: Sequence[Answer], labels: Sequence[str]) -> dict[str, Any]:
    """Which label was taken for which, as plain values.

    Returns:
        ``labels``: the classes. ``counts``: for each actual label, in this order, how many texts of it got each label.
    """
    pairs = Counter((answer.reference, answer.text) for answer in answers)
    return {"labels": list(labels), "counts": [[pairs[actual, found] for found in labels] for actual in labels]}


def _f1(name: str, predicted: Sequence[str], actual: Sequence[str]) -> float:
    hits = sum(p == a == name for p, a in zip(predicted, actual, strict=True))
    return 2 * hits / (sum(p == name for p in predicted) + sum(a == name for a in actual))


def estimates(
    answers: Sequence[Answer], rows: Sequence[AnyPrompt], data: str, resamples: int = _RESAMPLES
) -> dict[str, Estimate]:
    """Each score of the answers. Which scores there are depends on the kind of row."""
    import numpy

    if not answers:
        return {}
    each = [score(answer, row, data) for answer, row in zip(answers, rows, strict=True)]
    names = dict.fromkeys(name for scores in each for name in scores)
    found = {
        name: bootstrap(numpy.array([scores[name] for scores in each if name in scores]), _mean, resamples)
        for name in names
    }
    if "accuracy" in each[0]:
        pairs = numpy.array([(answer.text, answer.reference) for answer in answers])
        found["macro_f1"] = bootstrap(pairs, lambda sample: macro_f1(*map(list, sample.T)), resamples)
    return found


def score(answer: Answer, row: AnyPrompt, data: str) -> dict[str, float]:
    """The scores of one answer, each from 0 to 1. Which scores there are depends on the kind of row."""
    if isinstance(row, Text):
        return {"stopped": float(answer.stopped)}
    if isinstance(row, Trial):
        return row.score(answer.text)
    if not isinstance(row, Row):
        return {"accuracy": float(answer.text == answer.reference)}
    scores = {"stopped": float(answer.stopped)}
    checker = BUILT_IN[data].score if data in BUILT_IN else None
    scores |= checker(answer.text) if checker else {"exact_match": float(_same(answer.text, answer.reference))}
    scores |= _json_scores(answer, BUILT_IN[data].fields if data in BUILT_IN else ())
    if row.constraints:
        scores["constraints"] = constraints.satisfied(answer.text, row.constraints)
    return scores


def main_score(scores: Mapping[str, float]) -> str:
    """The name of the score that says most about an answer: constraints, fields, exact match, or else the first."""
    return next((name for name in _MAIN_SCORES if name in scores), next(iter(scores)))


def _json_scores(answer: Answer, named: Sequence[str] = ()) -> dict[str, float]:
    """If the answer should be a JSON object: whether it is one and nothing else, and its share of correct fields.

    Also whether all fields are correct, and whether each of the named ones is.
    """
    correct = {field.name: field.correct for field in compare_fields(answer.text, answer.reference)}
    if not correct:
        return {}
    scores = {
        "valid_json": parse_object(answer.text) is not None,
        "fields": sum(correct.values()) / len(correct),
        "all_fields": all(correct.values()),
    }
    return {name: float(value) for name, value in scores.items()} | {
        name: float(correct.get(name, False)) for name in named
    }


def _same(text: str, reference: str) -> bool:
    """Whether two answers are the same except for case and white space."""
    return text.casefold().split() == reference.casefold().split()


def _mean(sample: numpy.ndarray) -> float:
    return float(sample.mean())


def ratio(sample: numpy.ndarray) -> float:
    """The sum of the first column divided by the sum of the second.

    For the loss of rows of different lengths this weighs each token the same, which the mean of row losses would not.
    Two sums of zero are alike, so their ratio is 1.
    """
    above, below = sample.sum(axis=0).tolist()
    if below:
        return float(above / below)
    return math.inf if above else 1.0


def bootstrap(
    rows: numpy.ndarray, statistic: Callable[[numpy.ndarray], float], resamples: int = _RESAMPLES
) -> Estimate:
    """A statistic of rows, with the interval that holds it in 95% of draws of as many rows with replacement."""
    import numpy

    value = statistic(rows)
    if not resamples:
        return Estimate(value, value, value, len(rows))
    # Always the same draws, so that the same answers get the same interval.
    draws = numpy.random.default_rng(0).integers(0, len(rows), (resamples, len(rows)))
    low, high = numpy.percentile([statistic(rows[draw]) for draw in draws], [2.5, 97.5])
    return Estimate(value, float(low), float(high), len(rows))


def evaluate(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[AnyRow],
    trials: Sequence[Trial] = (),
    *,
    data: str,
    train_on: str = "completion",
    max_length: int = 512,
    labels: Sequence[str] = (),
    corpus: str | None = None,
    answer_tokens: int = MAX_NEW_TOKENS,
) -> Evaluation:
    """A full evaluation: the model's loss on the rows, its scores, and its old skill.

    Args:
        model: A causal language model, with or without an adapter, or a classifier.
        tokenizer: The model's own.
        rows: Rows that were not trained on.
        trials: Prompts with checkers, to be answered instead of the rows.
        data: The data set's name.
        train_on: Which tokens of a conversation count for the loss.
        max_length: Tokens of a row that count.
        labels: A classifier's classes.
        corpus: See `old_skill`.
        answer_tokens: Tokens of an answer, at most.

    Raises:
        DataError: If the rows do not suit the kind of model, or none of them has a token to predict.
    """
    import numpy

    model.eval()
    _refuse_other_rows(rows, data, labels)
    examples = encode_all(rows, tokenizer, train_on=train_on, max_length=max_length, labels=labels)
    if not examples:
        what = f"{data}: no example has a trained token within its first {max_length} tokens."
        raise DataError(what, "Evaluate on examples with shorter prompts.")
    losses = bootstrap(numpy.array(row_losses(model, tokenizer, examples)), ratio)
    heldout = {"loss": losses}
    if not labels:
        value, low, high = (float(numpy.exp(nats)) for nats in (losses.value, losses.low, losses.high))
        heldout["perplexity"] = Estimate(value, low, high, losses.rows)
    prompts: Sequence[AnyPrompt] = trials or rows
    answers = answer_and_score(model, tokenizer, prompts, data=data, labels=labels, answer_tokens=answer_tokens).answers
    return Evaluation(
        heldout=heldout | estimates(answers, prompts, data),
        old_skill={} if labels else old_skill(model, tokenizer, corpus),
    )


def _refuse_other_rows(rows: Sequence[AnyRow], data: str, labels: Sequence[str]) -> None:
    """A classifier is evaluated on labelled texts, any other model on text without labels."""
    labelled = any(isinstance(row, Labelled) for row in rows[:1])
    if labels and not labelled:
        what = f"{data}: the examples have no labels, which a classifier needs."
        raise DataError(what, 'Write each like {"text": …, "label": …}.')
    if labelled and not labels:
        what = f"{data} holds texts with labels, but the model is not a classifier."
        raise DataError(what, "Remove `label` from the examples, or evaluate a run of classify or probe on them.")


def old_skill(model: Any, tokenizer: PreTrainedTokenizerBase, corpus: str | None = None) -> dict[str, Estimate]:
    """What a language model still knows besides its task: its loss on texts, and its accuracy on questions.

    Args:
        model: A causal language model, with or without an adapter.
        tokenizer: The model's own.
        corpus: See `old_skill_rows`.
    """
    return skill_estimates(*old_skill_rows(model, tokenizer, corpus))


def old_skill_rows(
    model: Any, tokenizer: PreTrainedTokenizerBase, corpus: str | None = None
) -> tuple[list[tuple[float, int]], list[float]]:
    """What `old_skill` is measured on: the loss and the number of tokens of each text, and which answers are correct.

    Args:
        model: A causal language model, with or without an adapter.
        tokenizer: The model's own.
        corpus: The generated data set that it was pre-trained on, if any: that set's held-out texts and questions are
            then used. Any other model gets texts and questions of general knowledge. It answers a question correctly
            if, of the choices, the correct one is the most likely continuation.
    """
    model.eval()
    if corpus:
        splits = load_splits(corpus, seed=0, examples=1)
        questions = [trial for trial in splits.trials if "answered" in trial.score("")][:_CORPUS_QUESTIONS]
        answers = answer_rows(model, tokenizer, questions)
        correct = [trial.score(answer.text)["answered"] for trial, answer in zip(questions, answers, strict=True)]
        return row_losses(model, tokenizer, encode_all(splits.heldout, tokenizer)), correct
    texts = encode_all(stream_rows(GENERAL_KNOWLEDGE / "text.jsonl"), tokenizer)
    return row_losses(model, tokenizer, texts), _answer_multiple_choice(model, tokenizer)


def skill_estimates(losses: Sequence[tuple[float, int]], correct: Sequence[float]) -> dict[str, Estimate]:
    """The loss and the accuracy of the rows that `old_skill_rows` gives, each with its interval."""
    import numpy

    return {"loss": bootstrap(numpy.array(losses), ratio), "accuracy": bootstrap(numpy.array(correct), _mean)}


def _answer_multiple_choice(model: Any, tokenizer: PreTrainedTokenizerBase) -> list[float]:
    """For each question of general knowledge, whether the correct choice is the most likely one."""
    lines = (GENERAL_KNOWLEDGE / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line) for line in lines]
    choice_losses = iter(row_losses(model, tokenizer, _choices(questions, tokenizer)))
    correct = []
    for question in questions:
        losses = [next(choice_losses)[0] for _choice in question["choices"]]
        correct.append(float(losses.index(min(losses)) == question["answer"]))
    return correct


def row_losses(model: Any, tokenizer: PreTrainedTokenizerBase, examples: Examples) -> list[tuple[float, int]]:
    """For each example the sum of its cross-entropies, in nats, and their number: trained tokens, or 1 for a label."""
    import torch

    from ftdemo.models.kernels import cross_entropy_sum

    losses: list[tuple[float, int]] = [(0.0, 0)] * len(examples)
    with torch.no_grad():
        for batch in plan_batches(examples.lengths, batch_tokens=_BATCH_TOKENS, epochs=1, seed=0):
            indices = [row[0] for row in batch]
            collated = collate([examples[index] for index in indices], tokenizer.pad_token_id).to(model.device)
            refuse_unknown_tokens(model, tokenizer, collated.input_ids)
            inputs = {"input_ids": collated.input_ids, "attention_mask": collated.attention_mask}
            if examples[0].label is not None:
                logits, counts = model(**inputs).logits, [1] * len(indices)
            else:
                with precision(model), logits_only_at(model, collated.loss_positions):
                    logits = model(**inputs, use_cache=False).logits
                counts = collated.loss_positions.sum(1).tolist()
            by_row = zip(torch.split(logits, counts), torch.split(collated.targets, counts), strict=True)
            for index, count, row in zip(indices, counts, by_row, strict=True):
                losses[index] = (cross_entropy_sum(*row).item(), count)
    return losses


def evaluate_before_and_after(
    run: Any, rows: Sequence[AnyRow], trials: Sequence[Trial] = (), *, data: str, base: str | None = None
) -> dict[str, Evaluation | None]:
    """A run's model before and after its training, by the same measures.

    Args:
        run: The run, an `ftdemo.runs.run.Run`.
        rows: Rows that it was not trained on.
        trials: See `evaluate`.
        data: The data set's name.
        base: Where to load an adapter's base model from, if not from the place that the run recorded.

    Returns:
        ``before``: the base model's, or None if its weights were random. ``after``: the trained model's.
    """
    recipe = run.recipe

    def measure(model: Any, tokenizer: Any) -> Evaluation:
        """Evaluate one of the two models, with the run's own settings."""
        settings: dict[str, Any] = {"train_on": recipe.train_on, "max_length": recipe.max_length, "labels": run.labels}
        settings |= {"corpus": run.corpus, "answer_tokens": recipe.answer_tokens}
        return evaluate(model, tokenizer, rows, trials, data=data, **settings)

    model, tokenizer = run.load_model(base)
    after = measure(model, tokenizer)
    if recipe.is_low_rank:
        with model.disable_adapter():
            return {"before": measure(model, tokenizer), "after": after}
    loaded = run.load_base(base)
    return {"before": measure(*loaded) if loaded else None, "after": after}


def evaluations_as_dict(evaluations: dict[str, Evaluation | None]) -> dict[str, Any]:
    """The evaluations as plain values."""
    return {when: asdict(evaluation) if evaluation else None for when, evaluation in evaluations.items()}


def _choices(questions: Iterable[dict[str, Any]], tokenizer: PreTrainedTokenizerBase) -> Examples:
    """Each question with each of its choices; only the choice's tokens have a loss."""
    examples = Examples()
    for number, question in enumerate(questions, 1):
        for choice in question["choices"]:
            encoded = tokenizer(f"{question['question']} {choice}", return_offsets_mapping=True)
            ends = [end for _, end in encoded["offset_mapping"]]
            # By position in the text, because a token may join the space before the choice to its first characters.
            counts = tuple(end > len(question["question"]) for end in ends)
            examples.add(Example(number, tuple(encoded["input_ids"]), counts))
    return examples
