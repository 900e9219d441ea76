"""Prompting, retrieval and fine-tuning on one task: the same model, questions and scoring; what each costs; advice."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from ftdemo.comparison.advice import Measured, advise
from ftdemo.comparison.approaches import (
    APPROACHES,
    CACHED_PRICE,
    RETRIEVING,
    TUNED,
    Approach,
    Prompts,
    Task,
    apply_changes,
    prompt_tokens,
    refuse_too_long,
    shared_beginning,
    tokens_written,
    tuning_recipe,
)
from ftdemo.data import Row, constraints, load_splits
from ftdemo.errors import UsageError
from ftdemo.evaluation.evaluate import estimates, main_score, score
from ftdemo.evaluation.generate import answer_rows
from ftdemo.evaluation.outcomes import Outcomes, score_outcomes
from ftdemo.evaluation.retrieval import make_search
from ftdemo.events import Answer, Event
from ftdemo.models import load as models
from ftdemo.models.layers import merge_adapter
from ftdemo.recipe import Recipe
from ftdemo.runs.perform import Switch, perform
from ftdemo.runs.run import Run

_TIMED = 5
"""Answers that are timed one at a time."""
_OWN_FORM = ("approach", "outcomes", "answers")
"""What a comparison's plain values hold in another form, or not at all."""


@dataclass(frozen=True)
class Comparison:
    """All approaches on one task, and what follows from it."""

    task: str
    model: str
    seed: int
    rows: int
    quality_is: str
    """The score that quality stands for."""
    cached_price: float
    """Price of a cached prompt token, as a share of the usual price."""
    measured: tuple[Measured, ...]
    advice: str

    def as_dict(self, answers: int = 3) -> dict[str, Any]:
        """Plain values, each approach by its name, with its first answers."""
        approaches = {
            measured.approach: {
                **{key: value for key, value in asdict(measured).items() if key not in _OWN_FORM},
                "answers": [asdict(answer) for answer in measured.answers[:answers]],
            }
            for measured in self.measured
        }
        return {**{key: value for key, value in vars(self).items() if key != "measured"}, "ways": approaches}


def run_comparison(
    task: Task,
    out: Path,
    *,
    model: str = "smollm2",
    seed: int = 0,
    rows: int | None = None,
    approaches: Sequence[Approach] = APPROACHES,
    search: str = "bm25",
    cached_price: float = CACHED_PRICE,
    settings: Mapping[str, Any] | None = None,
    stop: Switch | None = None,
) -> Generator[Event | Measured | Comparison]:
    """Answer the same questions by several approaches with one model, and advise which to take.

    Args:
        task: The questions.
        out: A folder that does not exist yet, for the tuned model.
        model: A model that answers, by name: see `ftdemo.models.load.resolve`.
        seed: Decides the examples in prompts and the order of training.
        rows: Use only the first N held-out examples.
        approaches: Those to compare.
        search: How passages are found: ``bm25`` or ``minilm``.
        cached_price: Price of a prompt token that a provider finds in its cache, as a share of the usual price.
        settings: Changes to the recipe that tunes.
        stop: Set it to end after what is in hand.

    Yields:
        The events of the training, each approach as soon as it is measured, and the comparison last.

    Raises:
        FtdemoError: If the task has no held-out examples, or something cannot be loaded, trained or written.
    """
    recipe = tuning_recipe(task, model, {"seed": seed, "eval_every": None, "sample_prompts": 0} | dict(settings or {}))
    benchmark = _Benchmark.of(task, recipe, rows, search, cached_price)
    measured: list[Measured] = []
    untuned = [approach for approach in approaches if approach not in TUNED]
    if untuned:
        base = models.load_ready(model)
        for approach in untuned:
            if stop and stop.is_set():
                break
            measured.append(_measure(approach, *base, benchmark, 0.0, 0))
            yield measured[-1]
        del base  # before another model is loaded
    tuned = [approach for approach in approaches if approach in TUNED]
    if tuned and not (stop and stop.is_set()):
        began = time.perf_counter()
        yield from perform(recipe, out, stop=stop)
        seconds = time.perf_counter() - began
        if out.exists() and (run := Run.load(out)).record["status"] == "completed":
            saved = sum(path.stat().st_size for path in out.glob("*model.safetensors"))
            merged = _load_merged(run)
            for approach in tuned:
                measured.append(_measure(approach, *merged, benchmark, seconds, saved))
                yield measured[-1]
    if measured:
        yield _compared(benchmark, model, seed, measured)


def _compared(benchmark: _Benchmark, model: str, seed: int, measured: Sequence[Measured]) -> Comparison:
    """What was measured, with the advice that follows from it."""
    return Comparison(
        benchmark.task.name,
        model,
        seed,
        len(benchmark.rows),
        benchmark.quality_is,
        benchmark.cached_price,
        tuple(measured),
        advise(measured, benchmark.recipe.model),
    )


def _load_merged(run: Run) -> tuple[Any, Any]:
    """The tuned model as it would be put to use: the update added to the weights, where that rounds nothing away."""
    import torch

    model, tokenizer = run.load_model()
    if run.recipe.is_low_rank and not models.is_quantized(model) and model.dtype == torch.float32:
        model = merge_adapter(model)
    return model, tokenizer


@dataclass(frozen=True)
class _Benchmark:
    """What all approaches share: the questions, the prompts and the score that decides."""

    task: Task
    recipe: Recipe
    rows: tuple[Row, ...]
    prompts: Prompts
    search: str
    cached_price: float
    quality_is: str

    @classmethod
    def of(cls, task: Task, recipe: Recipe, rows: int | None, search: str, cached_price: float) -> _Benchmark:
        """The questions of a task, and the prompts of each approach to it.

        Raises:
            UsageError: If the task has no held-out conversations.
        """
        splits = load_splits(recipe.data, seed=recipe.seed, examples=recipe.examples)
        heldout = tuple(row for row in islice(splits.heldout, rows) if isinstance(row, Row))
        if not heldout:
            what = f"{task.name} has no held-out conversations to ask about."
            remedy = "Provide ten or more examples with `prompt` and `completion`, or also a file heldout.jsonl."
            raise UsageError(what, remedy)
        kinds = score(Answer("", heldout[0].reference, heldout[0].reference, True), heldout[0], task.data)
        return cls(task, recipe, heldout, Prompts.of(task, recipe), search, cached_price, main_score(kinds))


def _measure(
    approach: Approach, model: Any, tokenizer: Any, benchmark: _Benchmark, setup: float, stored: int
) -> Measured:
    """One approach: its answers, their scores and their costs."""
    max_new_tokens = benchmark.recipe.answer_tokens
    passages, search = benchmark.prompts.passages, None
    if approach in RETRIEVING:
        began = time.perf_counter()
        search = make_search(benchmark.search, passages)
        setup += time.perf_counter() - began
        stored += search.size + sum(len(passage.encode()) for passage in passages)
    if approach == "few-shot":
        stored += sum(len(turn.content.encode()) for row in benchmark.prompts.shots for turn in row.turns)
    prompts = [benchmark.prompts.build(approach, row, search) for row in benchmark.rows]
    refuse_too_long(approach, prompts, model, tokenizer, max_new_tokens)
    answers = answer_rows(model, tokenizer, prompts, max_new_tokens=max_new_tokens)
    found = estimates(answers, benchmark.rows, benchmark.task.data)
    tokens = [prompt_tokens(tokenizer, prompt) for prompt in prompts]
    read, cached = list(map(len, tokens)), shared_beginning(tokens)
    billed = [count - cached + benchmark.cached_price * cached for count in read]
    scores = score_outcomes(answers, benchmark.rows, benchmark.task.data)
    changed = _outcomes_after_changes(approach, model, tokenizer, benchmark) if benchmark.task.changes else {}
    outcomes = {f"scores.{name}": one for name, one in scores.items()} | changed
    counts: dict[str, Sequence[float]] = {"prompt_tokens": read, "billed_tokens": billed}
    outcomes |= {"quality": scores[benchmark.quality_is]}
    outcomes |= {name: Outcomes.of(benchmark.rows, each) for name, each in counts.items()}
    return Measured(
        approach=approach,
        quality=found[benchmark.quality_is],
        scores=found,
        outcomes=outcomes,
        seconds=_median_latency(model, tokenizer, prompts, max_new_tokens),
        prompt_tokens=statistics.fmean(read),
        cached_tokens=cached,
        billed_tokens=statistics.fmean(billed),
        answer_tokens=statistics.fmean(tokens_written(tokenizer, answer) for answer in answers),
        setup_seconds=setup,
        stored_bytes=stored,
        found=_share_found(prompts, benchmark.rows) if search and benchmark.task.documents else None,
        **{name: statistics.fmean(one.values) for name, one in changed.items()},
        answers=answers,
    )


def _median_latency(model: Any, tokenizer: Any, prompts: Sequence[Row], max_new_tokens: int) -> float:
    """Seconds for one answer that is generated by itself: the median of some."""
    seconds = []
    for prompt in prompts[:_TIMED]:
        began = time.perf_counter()
        answer_rows(model, tokenizer, [prompt], max_new_tokens=max_new_tokens)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def _share_found(prompts: Sequence[Row], rows: Sequence[Row]) -> float | None:
    """For how many questions the notes hold what the answer should have."""
    wanted = [row.constraints.get("contains") for row in rows]
    if not all(wanted):
        return None
    pairs = zip(prompts, rows, strict=True)
    return statistics.fmean(
        float(constraints.satisfied(prompt.prompt[-1].content, {"contains": row.constraints["contains"]}) == 1)
        for prompt, row in pairs
    )


def _outcomes_after_changes(
    approach: Approach, model: Any, tokenizer: Any, benchmark: _Benchmark
) -> dict[str, Outcomes]:
    """Which questions about changed facts are answered as things are now, and which as they were.

    Documents are corrected, because that takes a minute; nothing is trained again.
    """
    changes = benchmark.task.changes
    prompts = replace(benchmark.prompts, task=apply_changes(benchmark.task))
    search = make_search(benchmark.search, prompts.passages) if approach in RETRIEVING else None
    rows = [change.row for change in changes]
    questions = [prompts.build(approach, row, search) for row in rows]
    answers = answer_rows(model, tokenizer, questions, max_new_tokens=benchmark.recipe.answer_tokens)
    former = {row.prompt[-1].content: row for row in benchmark.rows}
    known = [
        (row, _satisfies(answer.text, former[row.prompt[-1].content]))
        for answer, row in zip(answers, rows, strict=True)
        if row.prompt[-1].content in former
    ]
    current = [_satisfies(answer.text, row) for answer, row in zip(answers, rows, strict=True)]
    found = {"up_to_date": Outcomes.of(rows, current)}
    return found | ({"out_of_date": Outcomes.of(*zip(*known, strict=True))} if known else {})


def _satisfies(text: str, row: Row) -> float:
    return float(constraints.satisfied(text, row.constraints) == 1)


def as_json(comparison: Comparison) -> str:
    """A comparison as a file keeps it."""
    return json.dumps(comparison.as_dict(), indent=2, ensure_ascii=False) + "\n"
