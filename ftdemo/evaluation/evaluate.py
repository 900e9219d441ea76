"""How good a model is: held-out rows answered and scored, their loss, and what it still knows of everything else."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ftdemo.data import BUILT_IN, AnyPrompt, AnyRow, Labelled, Row, Text, Trial, constraints, load_splits, stream_rows
from ftdemo.data.batches import collate, plan_batches
from ftdemo.data.builtin import GENERAL_KNOWLEDGE
from ftdemo.data.tokenize import Example, Examples, encode_all
from ftdemo.errors import DataError
from ftdemo.evaluation.generate import MAX_NEW_TOKENS, answer_rows
from ftdemo.events import Answer, Sampled
from ftdemo.training.loop import logits_only_at
from ftdemo.training.methods import precision

if TYPE_CHECKING:
    import numpy
    from transformers import PreTrainedTokenizerBase

_BATCH_TOKENS = 2048
_RESAMPLES = 1000
_CORPUS_QUESTIONS = 60
_DECIDING = ("constraints", "fields", "exact_match")


@dataclass(frozen=True)
class Estimate:
    """A figure with the interval that holds 95 of 100 resampled figures (the bootstrap, Efron 1979)."""

    value: float
    low: float
    high: float
    rows: int
    """How many rows it was measured on."""


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
    """What a model scores, figure by figure."""

    heldout: dict[str, Estimate]
    """On the held-out rows: ``loss`` (nats a token or label), ``perplexity``, and each score from 0 to 1."""
    old_skill: dict[str, Estimate]
    """What it knows besides: ``loss`` on general text, and ``accuracy`` on questions. Empty for a classifier."""


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
    """Let the model answer held-out rows and score what it says.

    Args:
        model: A causal language model, with or without an adapter, or a classifier.
        tokenizer: The model's own.
        rows: Rows that were not trained on. Of a conversation the last assistant turn is asked for, of a text how it
            goes on, of a labelled text its label.
        data: The data set's name: a built-in one may bring a checker, a file of the user's has none.
        step: How many optimizer steps the model has taken.
        labels: A classifier's classes.
        answer_tokens: Tokens of an answer, at most.
        until: Once this is true, no more is said.
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
    """The label that a classifier gives each text."""
    import torch

    model.eval()
    answers: list[Answer] = []
    with torch.no_grad():
        for start in range(0, len(rows), 32):
            batch = rows[start : start + 32]
            inputs = tokenizer([row.text for row in batch], padding=True, truncation=True, return_tensors="pt")
            inputs.pop("token_type_ids", None)
            best = model(**inputs.to(model.device)).logits.argmax(dim=1).tolist()
            answers += [
                Answer(row.text, labels[number], row.label, True) for row, number in zip(batch, best, strict=True)
            ]
    return tuple(answers)


def mean_scores(answers: Sequence[Answer], rows: Sequence[AnyPrompt], data: str) -> dict[str, float]:
    """The mean of each score over the answers, from 0 to 1; of labels also the macro F1."""
    return {name: round(estimate.value, 4) for name, estimate in estimates(answers, rows, data, resamples=0).items()}


def macro_f1(predicted: Sequence[str], actual: Sequence[str]) -> float:
    """F1 of each class, averaged over the classes that occur: 2 TP / (2 TP + FP + FN)."""
    classes = sorted({*predicted, *actual})
    return sum(_f1(name, predicted, actual) for name in classes) / len(classes)


def _f1(name: str, predicted: Sequence[str], actual: Sequence[str]) -> float:
    hits = sum(p == a == name for p, a in zip(predicted, actual, strict=True))
    return 2 * hits / (sum(p == name for p in predicted) + sum(a == name for a in actual))


def estimates(
    answers: Sequence[Answer], rows: Sequence[AnyPrompt], data: str, resamples: int = _RESAMPLES
) -> dict[str, Estimate]:
    """Each score of the answers: what it is depends on the kind of row."""
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
    """The scores of one answer, each from 0 to 1; which ones there are depends on the kind of row."""
    if isinstance(row, Text):
        return {"stopped": float(answer.stopped)}
    if isinstance(row, Trial):
        return row.score(answer.text)
    if not isinstance(row, Row):
        return {"accuracy": float(answer.text == answer.reference)}
    scores = {"stopped": float(answer.stopped)}
    checker = BUILT_IN[data].score if data in BUILT_IN else None
    scores |= checker(answer.text) if checker else {"exact_match": float(_same(answer.text, answer.reference))}
    scores |= _as_object(answer)
    if row.constraints:
        scores["constraints"] = constraints.satisfied(answer.text, row.constraints)
    return scores


def deciding(scores: Mapping[str, float]) -> str:
    """Which of an answer's scores says best whether it is good: constraints, fields, an exact match, or the first."""
    return next((name for name in _DECIDING if name in scores), next(iter(scores)))


def _as_object(answer: Answer) -> dict[str, float]:
    """Of an answer that should be a JSON object: whether it is one and nothing else, and its share of right fields."""
    wanted = _object(answer.reference)
    if wanted is None:
        return {}
    said = _object(answer.text) or {}
    keys = {*wanted, *said}
    right = sum(key in said and key in wanted and said[key] == wanted[key] for key in keys)
    return {"valid_json": float(bool(said)), "fields": right / len(keys)}


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and value else None


def _same(text: str, reference: str) -> bool:
    """Whether two answers are the same but for case and white space."""
    return text.casefold().split() == reference.casefold().split()


def _mean(sample: numpy.ndarray) -> float:
    return float(sample.mean())


def ratio(sample: numpy.ndarray) -> float:
    """The sum of the first column over that of the second."""
    return float(sample[:, 0].sum() / sample[:, 1].sum())


def bootstrap(
    rows: numpy.ndarray, statistic: Callable[[numpy.ndarray], float], resamples: int = _RESAMPLES
) -> Estimate:
    """A statistic of rows, with the interval in which it falls for 95% of equally large draws with replacement."""
    import numpy

    value = statistic(rows)
    if not resamples:
        return Estimate(value, value, value, len(rows))
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
    """Everything there is to say about a model: its loss on the rows, its scores, and its old skill.

    Args:
        model: A causal language model, with or without an adapter, or a classifier.
        tokenizer: The model's own.
        rows: Rows that were not trained on.
        trials: What it is asked, where it is not asked for what the rows say.
        data: The data set's name.
        train_on: Which tokens of a conversation count for the loss.
        max_length: Tokens of a row that count.
        labels: A classifier's classes.
        corpus: See `old_skill`.
        answer_tokens: Tokens of an answer, at most.

    Raises:
        DataError: If the rows are of another kind than the model's, or none has anything to judge by.
    """
    import numpy

    model.eval()
    _refuse_other_rows(rows, data, labels)
    examples = encode_all(rows, tokenizer, train_on=train_on, max_length=max_length, labels=labels)
    if not examples:
        what = f"{data}: no row has a trained token within its first {max_length} tokens."
        raise DataError(what, "Judge by rows with shorter prompts.")
    losses = bootstrap(numpy.array(row_losses(model, tokenizer, examples)), ratio)
    heldout = {"loss": losses}
    if not labels:
        value, low, high = (float(numpy.exp(nats)) for nats in (losses.value, losses.low, losses.high))
        heldout["perplexity"] = Estimate(value, low, high, losses.rows)
    asked: Sequence[AnyPrompt] = trials or rows
    answers = answer_and_score(model, tokenizer, asked, data=data, labels=labels, answer_tokens=answer_tokens).answers
    return Evaluation(
        heldout=heldout | estimates(answers, asked, data),
        old_skill={} if labels else old_skill(model, tokenizer, corpus),
    )


def _refuse_other_rows(rows: Sequence[AnyRow], data: str, labels: Sequence[str]) -> None:
    """A classifier is judged by labels, everything else by text without them."""
    labelled = any(isinstance(row, Labelled) for row in rows[:1])
    if labels and not labelled:
        what = f"{data}: the rows have no labels, by which a classifier is judged."
        raise DataError(what, 'Give rows like {"text": …, "label": …}.')
    if labelled and not labels:
        what = f"{data} holds texts with labels, but the model is no classifier."
        raise DataError(what, "Take `label` out of the rows, or judge a run of classify or probe by them.")


def old_skill(model: Any, tokenizer: PreTrainedTokenizerBase, corpus: str | None = None) -> dict[str, Estimate]:
    """What a language model knows besides its task: its loss on texts, and its accuracy on questions.

    Args:
        model: A causal language model, with or without an adapter.
        tokenizer: The model's own.
        corpus: The generated data set that it was pre-trained on, if it was: its held-out texts and questions are put
            to it then. Any other model meets texts and questions of general knowledge. Of those a question counts as
            answered right if, of its choices, the right one is the likeliest continuation.
    """
    import numpy

    model.eval()
    if corpus:
        splits = load_splits(corpus, seed=0, examples=1)
        texts = encode_all(splits.heldout, tokenizer)
        asked = [trial for trial in splits.trials if "answered" in trial.score("")][:_CORPUS_QUESTIONS]
        answers = answer_rows(model, tokenizer, asked)
        right = [trial.score(answer.text)["answered"] for trial, answer in zip(asked, answers, strict=True)]
    else:
        texts = encode_all(stream_rows(GENERAL_KNOWLEDGE / "text.jsonl"), tokenizer)
        right = _choose(model, tokenizer)
    return {
        "loss": bootstrap(numpy.array(row_losses(model, tokenizer, texts)), ratio),
        "accuracy": bootstrap(numpy.array(right), _mean),
    }


def _choose(model: Any, tokenizer: PreTrainedTokenizerBase) -> list[float]:
    """Of each question of general knowledge, whether the right choice is the likeliest one."""
    lines = (GENERAL_KNOWLEDGE / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line) for line in lines]
    likelihoods = iter(row_losses(model, tokenizer, _choices(questions, tokenizer)))
    right = []
    for question in questions:
        losses = [next(likelihoods)[0] for _choice in question["choices"]]
        right.append(float(losses.index(min(losses)) == question["answer"]))
    return right


def row_losses(model: Any, tokenizer: PreTrainedTokenizerBase, examples: Examples) -> list[tuple[float, int]]:
    """Of each example the sum of its cross-entropies, in nats, and how many there are: of tokens or of its label."""
    import torch

    from ftdemo.models.kernels import cross_entropy_sum

    losses: list[tuple[float, int]] = [(0.0, 0)] * len(examples)
    with torch.no_grad():
        for batch in plan_batches(examples.lengths, batch_tokens=_BATCH_TOKENS, epochs=1, seed=0):
            places = [row[0] for row in batch]
            collated = collate([examples[place] for place in places], _pad(tokenizer)).to(model.device)
            inputs = {"input_ids": collated.input_ids, "attention_mask": collated.attention_mask}
            if examples[0].label is not None:
                logits, counts = model(**inputs).logits, [1] * len(places)
            else:
                with precision(model), logits_only_at(model, collated.loss_positions):
                    logits = model(**inputs, use_cache=False).logits
                counts = collated.loss_positions.sum(1).tolist()
            by_row = zip(torch.split(logits, counts), torch.split(collated.targets, counts), strict=True)
            for place, count, row in zip(places, counts, by_row, strict=True):
                losses[place] = (cross_entropy_sum(*row).item(), count)
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
        base: Another place to take the base model of an adapter from.

    Returns:
        Under ``before`` the base model, or nothing where it was random; under ``after`` the trained one.
    """
    recipe = run.recipe

    def measure(model: Any, tokenizer: Any) -> Evaluation:
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
    """Each question with each of its choices; the choice's tokens are those that count."""
    examples = Examples()
    for number, question in enumerate(questions, 1):
        for choice in question["choices"]:
            encoded = tokenizer(f"{question['question']} {choice}", return_offsets_mapping=True)
            ends = [end for _, end in encoded["offset_mapping"]]
            counts = tuple(end > len(question["question"]) for end in ends)
            examples.add(Example(number, tuple(encoded["input_ids"]), counts))
    return examples


def _pad(tokenizer: PreTrainedTokenizerBase) -> int:
    return int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id)
