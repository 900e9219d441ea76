from __future__ import annotations

import math
from itertools import islice
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from conftest import TINY

from ftdemo.data import BUILT_IN, AnyRow, Labelled, Row, Text, Turn, read_rows
from ftdemo.data.tokenize import Examples, encode_all
from ftdemo.errors import DataError
from ftdemo.evaluation.evaluate import (
    Estimate,
    bootstrap,
    classify,
    confusion,
    evaluate,
    evaluate_before_and_after,
    evaluations_as_dict,
    macro_f1,
    mean_scores,
    old_skill,
    row_losses,
)
from ftdemo.events import Answer
from ftdemo.models.load import Source, load_causal_lm
from ftdemo.runs.run import Run
from ftdemo.training import hardware
from ftdemo.training.learner import Learner
from ftdemo.training.loop import evaluate_heldout
from ftdemo.training.prepare import prepare


def mean(sample: numpy.ndarray) -> float:
    return float(sample.mean())


# The interval


def test_the_interval_holds_the_figure() -> None:
    estimate = bootstrap(numpy.array([0.0, 0.0, 1.0, 1.0, 1.0]), mean)
    assert estimate.low < estimate.value == 0.6 < estimate.high
    assert estimate.rows == 5


def test_the_interval_narrows_with_the_root_of_the_rows() -> None:
    few, many = (bootstrap(numpy.tile([0.0, 1.0], count), mean) for count in (8, 200))
    # 25 times as many rows: a fifth of the width, but for the chance in a thousand resamples
    assert (many.high - many.low) == pytest.approx((few.high - few.low) / 5, rel=0.2)


def test_the_interval_is_that_of_the_normal_law_where_rows_are_many() -> None:
    rows = numpy.random.default_rng(1).normal(3, 2, 400)
    estimate = bootstrap(rows, mean)
    half = 1.96 * rows.std() / math.sqrt(400)
    # a thousand resamples place a 2.5% point to within some 7% of the half-width
    assert estimate.high - estimate.value == pytest.approx(half, rel=0.15)
    assert estimate.value - estimate.low == pytest.approx(half, rel=0.15)


def test_the_interval_is_the_same_each_time() -> None:
    rows = numpy.array([0.1, 0.7, 0.3])
    assert bootstrap(rows, mean) == bootstrap(rows, mean)


def test_rows_that_are_all_alike_leave_no_doubt() -> None:
    assert bootstrap(numpy.ones(7), mean) == Estimate(1.0, 1.0, 1.0, 7)


# Scores


def test_macro_f1_is_the_mean_of_the_f1_of_each_class() -> None:
    actual = ["a", "a", "a", "b", "b", "c"]
    predicted = ["a", "a", "b", "b", "c", "a"]
    # a: 2 of 3 found, 2 of 3 right; b: 1 of 2, 1 of 2; c: none
    assert macro_f1(predicted, actual) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert macro_f1(actual, actual) == 1
    assert macro_f1(["b", "a"], ["a", "b"]) == 0


def test_a_class_that_is_only_predicted_counts_against_macro_f1() -> None:
    assert macro_f1(["a", "b"], ["a", "a"]) == pytest.approx((2 / 3 + 0) / 2)


def row(prompt: str, completion: str, **constraints: Any) -> Row:
    return Row(1, (Turn("user", prompt), Turn("assistant", completion)), constraints)


def answer(text: str, reference: str, stopped: bool = True) -> Answer:
    return Answer("?", text, reference, stopped)


def test_an_exact_match_overlooks_case_and_white_space_alone() -> None:
    rows = [row("?", "Yes, madam.")] * 4
    said = ["yes,  Madam.\n", "Yes, madam", "Yes, madam. Today.", ""]
    answers = [answer(text, "Yes, madam.") for text in said]
    assert mean_scores(answers, rows, "mine.jsonl") == {"stopped": 1.0, "exact_match": 0.25}


def test_constraints_count_by_the_share_that_an_answer_keeps() -> None:
    rows = [row("?", "Aye.", contains=["lamp"], max_words=3)] * 2
    answers = [answer("The lamp is here.", "Aye."), answer("A lamp!", "Aye.", stopped=False)]
    assert mean_scores(answers, rows, "mine.jsonl") == {"stopped": 0.5, "exact_match": 0.0, "constraints": 0.75}


def test_a_built_in_set_of_tickets_is_scored_field_by_field() -> None:
    reference = next(row for row in read_rows(BUILT_IN["tickets"].heldout) if isinstance(row, Row))
    said = [(reference.reference, True), ("I do not know!", False)]
    answers = [answer(text, reference.reference, stopped=stopped) for text, stopped in said]
    scores = mean_scores(answers, [reference] * 2, "tickets")
    assert scores.keys() == {
        "stopped",
        "exact_match",
        "valid_json",
        "fields",
        "all_fields",
        *BUILT_IN["tickets"].fields,
    }
    assert set(scores.values()) == {0.5}
    assert mean_scores([], [], "tickets") == {}


def test_labels_are_scored_by_accuracy_and_macro_f1() -> None:
    rows = [Labelled(n, "text", label) for n, label in enumerate("aab", 1)]
    answers = [answer(said, row.label) for said, row in zip("aba", rows, strict=True)]
    assert mean_scores(answers, rows, "mine.jsonl") == {"accuracy": 0.3333, "macro_f1": 0.25}


def test_of_running_text_it_is_scored_whether_it_ends() -> None:
    rows = [Text(1, "Once upon a time."), Text(2, "In the shop.")]
    answers = [answer("a time.", "x"), answer("the sea and the sea and", "y", stopped=False)]
    assert mean_scores(answers, rows, "high-street") == {"stopped": 0.5}


# Losses


@pytest.fixture(scope="module")
def chat_model(chat_run: Run) -> tuple[Any, Any]:
    loaded: tuple[Any, Any] = chat_run.load_model()
    return loaded


@pytest.fixture(scope="module")
def chat_learner(chat_run: Run, chat_model: tuple[Any, Any]) -> Learner:
    """The run's rows and settings, with its trained weights."""
    learner = prepare(chat_run.recipe)
    learner.model.load_state_dict(chat_model[0].state_dict())
    return learner


@pytest.fixture(scope="module")
def probe(probe_run: Run) -> tuple[Any, Any]:
    loaded: tuple[Any, Any] = probe_run.load_model()
    return loaded


@pytest.fixture(scope="module")
def probe_learner(probe_run: Run, probe: tuple[Any, Any]) -> Learner:
    """The run's rows and settings, with its trained weights."""
    learner = prepare(probe_run.recipe)
    learner.model.load_state_dict(probe[0].state_dict())
    return learner


def cross_entropy_alone(model: Any, examples: Examples, place: int) -> tuple[float, int]:
    """The loss of one example, alone and from all logits."""
    example = examples[place]
    ids = torch.tensor([example.input_ids])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0]
    trained = torch.tensor(example.completion_mask[1:])
    losses = torch.nn.functional.cross_entropy(logits[:-1][trained], ids[0, 1:][trained], reduction="sum")
    return losses.item(), example.trained_tokens


def test_the_losses_of_rows_in_batches_are_those_of_rows_alone(
    chat_model: tuple[Any, Any], chat_learner: Learner
) -> None:
    model, tokenizer = chat_model
    together = row_losses(model, tokenizer, chat_learner.train)
    assert len({len(example) for example in chat_learner.train}) > 3  # so there is padding
    for place, (total, count) in enumerate(together):
        alone, tokens = cross_entropy_alone(model, chat_learner.train, place)
        assert count == tokens
        # float32 sums of some ten terms near 3
        assert total == pytest.approx(alone, abs=1e-4)


def test_the_losses_of_rows_add_up_to_the_heldout_loss_of_training(
    chat_model: tuple[Any, Any], chat_learner: Learner
) -> None:
    losses = row_losses(*chat_model, chat_learner.heldout)
    total, count = map(sum, zip(*losses, strict=True))
    assert total / count == pytest.approx(evaluate_heldout(chat_learner, 0).loss, abs=1e-5)


def test_labels_have_one_loss_a_row(probe: tuple[Any, Any], probe_learner: Learner) -> None:
    losses = row_losses(*probe, probe_learner.heldout)
    assert [count for _, count in losses] == [1] * len(probe_learner.heldout)
    mean_loss = sum(loss for loss, _ in losses) / len(losses)
    assert mean_loss == pytest.approx(evaluate_heldout(probe_learner, 0).loss, abs=1e-5)


# All of it


@pytest.fixture(scope="module")
def of_chats(chat_model: tuple[Any, Any], chat_learner: Learner, chat_run: Run) -> dict[str, Estimate]:
    return evaluate(*chat_model, chat_learner.splits.heldout, data=chat_run.recipe.data, max_length=128).heldout


def test_the_loss_of_an_evaluation_is_that_of_training_and_perplexity_its_exponential(
    of_chats: dict[str, Estimate], chat_learner: Learner
) -> None:
    assert of_chats["loss"].value == pytest.approx(evaluate_heldout(chat_learner, 0).loss, abs=1e-5)
    assert of_chats["loss"].low <= of_chats["loss"].value <= of_chats["loss"].high
    for figure in ("value", "low", "high"):
        assert getattr(of_chats["perplexity"], figure) == pytest.approx(math.exp(getattr(of_chats["loss"], figure)))
    assert of_chats.keys() == {"loss", "perplexity", "stopped", "exact_match"}
    assert {estimate.rows for estimate in of_chats.values()} == {4}


def test_the_scores_of_an_evaluation_are_those_that_the_run_recorded(
    of_chats: dict[str, Estimate], chat_run: Run
) -> None:
    recorded = chat_run.record["scores"]["after"]
    assert {name: round(of_chats[name].value, 4) for name in recorded} == recorded


def test_running_text_is_evaluated_by_its_loss_and_by_whether_it_ends(tiny_run: Run) -> None:
    learner = prepare(TINY)
    model, tokenizer = tiny_run.load_model()
    found = evaluate(model, tokenizer, learner.splits.heldout[:3], data=TINY.data, max_length=TINY.max_length)
    assert found.heldout.keys() == {"loss", "perplexity", "stopped"}
    assert found.heldout["loss"].value < math.log(TINY.vocabulary)  # it knows more than nothing
    assert found.old_skill.keys() == {"loss", "accuracy"}


def test_a_classifier_is_evaluated_by_its_labels_and_has_no_old_skill(
    probe: tuple[Any, Any], probe_learner: Learner, probe_run: Run
) -> None:
    rows: tuple[AnyRow, ...] = probe_learner.splits.heldout
    found = evaluate(*probe, rows, data=probe_run.recipe.data, labels=probe_run.labels)
    answers = classify(*probe, rows, probe_run.labels)
    right = sum(a.text == row.label for a, row in zip(answers, rows, strict=True) if isinstance(row, Labelled))
    assert found.heldout["accuracy"].value == pytest.approx(right / len(rows))
    assert found.heldout.keys() == {"loss", "accuracy", "macro_f1"}
    assert found.old_skill == {}
    recorded = probe_run.record["scores"]["after"]
    assert {name: round(found.heldout[name].value, 4) for name in recorded} == recorded


def test_a_probe_learns_its_labels(probe: tuple[Any, Any], probe_learner: Learner) -> None:
    rows = list(islice(probe_learner.splits.train, 54))
    answers = classify(*probe, rows, probe_learner.labels)
    right = sum(a.text == row.label for a, row in zip(answers, rows, strict=True) if isinstance(row, Labelled))
    assert right / len(rows) > 3 / 8  # one in eight would be chance


@pytest.fixture(scope="module")
def compared(lora_run: Run) -> dict[str, Any]:
    return evaluate_before_and_after(lora_run, prepare(lora_run.recipe).splits.heldout, data=lora_run.recipe.data)


def test_before_a_lora_run_is_the_base_itself(lora_run: Run, compared: dict[str, Any]) -> None:
    loaded = lora_run.load_base()
    assert loaded is not None
    rows = prepare(lora_run.recipe).splits.heldout
    alone = evaluate(*loaded, rows, data=lora_run.recipe.data, max_length=lora_run.recipe.max_length)
    for part in ("heldout", "old_skill"):
        before, base = getattr(compared["before"], part), getattr(alone, part)
        assert before.keys() == base.keys()
        for name in base:
            assert before[name].value == pytest.approx(base[name].value, rel=1e-5), name


def test_after_a_lora_run_is_its_adapter(lora_run: Run, compared: dict[str, Any]) -> None:
    record = lora_run.record
    assert compared["before"].heldout["loss"].value == pytest.approx(record["heldout_loss"]["before"], abs=1e-5)
    assert compared["after"].heldout["loss"].value == pytest.approx(record["heldout_loss"]["after"], abs=1e-5)
    assert compared["after"].old_skill["loss"] != compared["before"].old_skill["loss"]


def test_before_a_run_from_random_weights_there_is_nothing(probe_run: Run, probe_learner: Learner) -> None:
    rows = probe_learner.splits.heldout
    result = evaluations_as_dict(evaluate_before_and_after(probe_run, rows, data=probe_run.recipe.data))
    assert result["before"] is None
    assert result["after"]["heldout"]["accuracy"].keys() == {"value", "low", "high", "rows"}


def test_rows_of_another_kind_than_the_model_was_trained_for_are_refused(
    probe: tuple[Any, Any], probe_run: Run, chat_model: tuple[Any, Any]
) -> None:
    with pytest.raises(DataError, match=r"(?s)mine\.jsonl: the examples have no labels.*Write each like"):
        evaluate(*probe, [Text(1, "A text.")], data="mine.jsonl", labels=probe_run.labels)
    with pytest.raises(DataError, match=r"mine\.jsonl holds texts with labels, but the model is not a classifier"):
        evaluate(*chat_model, [Labelled(1, "A text.", "praise")], data="mine.jsonl")


def test_rows_of_which_truncation_leaves_nothing_are_refused(chat_model: tuple[Any, Any]) -> None:
    with pytest.raises(DataError, match=r"(?s)no example has a trained token within its first 8 tokens"):
        evaluate(*chat_model, [row("word " * 40, "Aye.")], data="mine.jsonl", max_length=8)


# Old skill


@pytest.fixture(scope="session")
def skill_of_smollm2(smollm2: Source, tokenizer: Any) -> dict[str, Estimate]:
    """In the number format that this machine multiplies fastest: the bounds below leave room for its rounding."""
    dtype = hardware.pick_dtype("auto", torch.device("cpu")).dtype
    return old_skill(load_causal_lm(smollm2, dtype), tokenizer)


@pytest.mark.slow
def test_smollm2_answers_simple_questions(skill_of_smollm2: dict[str, Estimate]) -> None:
    accuracy = skill_of_smollm2["accuracy"]
    assert accuracy.rows >= 60
    assert accuracy.value > 0.85  # 0.94 when the questions were written; by chance it would be a quarter


@pytest.mark.slow
def test_smollm2_finds_general_text_likely(skill_of_smollm2: dict[str, Estimate]) -> None:
    loss = skill_of_smollm2["loss"]
    assert loss.rows >= 100
    assert loss.value < 4  # measured: 3.45; ln(49152) = 10.8 would be to know nothing


def test_a_model_of_shop_texts_knows_nothing_of_the_world(tiny_run: Run) -> None:
    assert old_skill(*tiny_run.load_model())["accuracy"].low < 0.35  # four choices each


@pytest.mark.slow
def test_a_model_of_shop_texts_knows_less_of_the_world_than_smollm2(
    tiny_run: Run, skill_of_smollm2: dict[str, Estimate]
) -> None:
    assert old_skill(*tiny_run.load_model())["accuracy"].high < skill_of_smollm2["accuracy"].low


def test_a_text_longer_than_a_piece_is_counted_whole(chat_model: tuple[Any, Any], tmp_path: Path) -> None:
    model, tokenizer = chat_model
    text = Text(1, "Where is my lamp? " * 12)
    pieces = encode_all([text], tokenizer, max_length=64)
    whole = encode_all([text], tokenizer, max_length=2**12)
    assert len(pieces) > len(whole) == 1
    assert sum(count for _, count in row_losses(model, tokenizer, pieces)) == whole.trained_tokens


def test_a_confusion_matrix_has_a_row_for_each_actual_label() -> None:
    pairs = [("a", "a"), ("b", "a"), ("b", "b"), ("a", "b"), ("b", "a")]
    answers = [Answer("", found, actual, True) for found, actual in pairs]
    assert confusion(answers, ("a", "b", "c")) == {
        "labels": ["a", "b", "c"],
        "counts": [[1, 2, 0], [1, 1, 0], [0, 0, 0]],
    }
