"""What a comparison of approaches comes to: its table, its chart, and the advice that follows from the numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ftdemo import charts
from ftdemo.comparison.approaches import Approach
from ftdemo.evaluation.evaluate import Estimate, bootstrap, with_interval
from ftdemo.evaluation.outcomes import Outcomes
from ftdemo.events import Answer

_POOR = 0.5
"""An approach that is right less often is not advised."""
_SCORES_OF_JSON = ("valid_json", "fields", "all_fields")
"""All that a table shows of answers in JSON: a ticket has a score for each field, too."""
_FEW_ROWS = 30
"""With so few questions, 95% intervals reach some 18 points to either side."""


@dataclass(frozen=True)
class Measured:
    """What one approach came to."""

    approach: Approach
    quality: Estimate
    scores: dict[str, Estimate]
    outcomes: dict[str, Outcomes]
    """How each question came out: by ``quality``, each score, ``prompt_tokens``, ``billed_tokens``, after changes."""
    seconds: float
    """For an answer by itself: the median of some."""
    prompt_tokens: float
    """Tokens that the model reads for an answer, on average."""
    cached_tokens: int
    """Those of them with which every prompt begins: the instruction and the examples, which a prompt cache holds."""
    billed_tokens: float
    """Tokens that the model reads, on average, with each cached one counted at its lower price."""
    answer_tokens: float
    """Tokens that it writes, on average."""
    setup_seconds: float
    """For training, or for building the index."""
    stored_bytes: int
    """Of what has to be kept besides the model: the adapter, the index with its passages, the examples."""
    found: float | None
    """Share of the questions for which what was found holds the words that the answer should have."""
    up_to_date: float | None = None
    """Once facts have changed: the share of questions about them that are answered as things are now."""
    out_of_date: float | None = None
    """And the share answered as they were."""
    answers: tuple[Answer, ...] = ()


def advise(measured: Sequence[Measured], model: str) -> str:
    """What the numbers say: the least effort that was not shown to be worse than the best, and at what price.

    Approaches are compared pairwise, question by question: one is taken for worse where the whole 95% interval of the
    mean difference, over resampled questions, lies below zero.
    """
    best = max(measured, key=lambda one: one.quality.value)
    if best.quality.value < _POOR:
        return (
            f"No approach is good enough: the best, {best.approach}, reaches {best.quality.value:.0%}. "
            f"Try a larger model than {model}, or more examples."
        )
    chosen = next(one for one in measured if not _is_worse(one, best))
    sentences = [f"Take {chosen.approach}: it reaches {with_interval(vars(chosen.quality), '.0%')}."]
    cheaper = list(measured)[: list(measured).index(chosen)]
    if cheaper:
        sentences.append(f"Approaches with less effort are worse: {_listed(cheaper)}.")
    more = [one for one in measured if one not in cheaper and one is not chosen]
    if more:
        sentences.append(f"We could not tell whether more effort helps: {_listed(more)}.")
    sentences += _on_changes(measured, chosen)
    sentences += _on_time(measured, chosen)
    sentences += _on_price(measured, chosen)
    if chosen.quality.rows < _FEW_ROWS:
        sentences.append(f"{chosen.quality.rows} questions can only show large differences.")
    return " ".join(sentences)


def _listed(measured: Sequence[Measured]) -> str:
    return ", ".join(f"{one.approach} {one.quality.value:.0%}" for one in measured)


def _is_worse(one: Measured, best: Measured) -> bool:
    import numpy

    if one is best:
        return False
    difference = numpy.array(one.outcomes["quality"].values) - numpy.array(best.outcomes["quality"].values)
    return bootstrap(difference, lambda sample: float(sample.mean())).high < 0


def _on_changes(measured: Sequence[Measured], chosen: Measured) -> list[str]:
    """Which approaches follow facts that change."""
    if chosen.up_to_date is None:
        return []
    known = [one for one in measured if one.up_to_date is not None]
    fresh = max(known, key=lambda one: one.up_to_date or 0.0)
    answers = f"{chosen.approach} gives {chosen.up_to_date:.0%} of the new answers"
    if fresh is not chosen and (fresh.up_to_date or 0) > chosen.up_to_date:
        return [
            f"But once facts change, {answers}, and {fresh.approach} {fresh.up_to_date:.0%}: "
            f"if your facts change, take {fresh.approach}."
        ]
    stale = [one for one in known if one.out_of_date and one is not chosen]
    old = "; ".join(f"{one.approach} still gives {one.out_of_date:.0%} of the old ones" for one in stale)
    return [f"Once facts change, {answers}{'; ' + old if old else ''}."]


def _on_time(measured: Sequence[Measured], chosen: Measured) -> list[str]:
    """From how many answers on training has paid for itself in time."""
    tuned = next((one for one in measured if one.approach == "fine-tuning"), None)
    if tuned is None or tuned is chosen or _is_worse(tuned, chosen) or tuned.seconds >= chosen.seconds:
        return []
    answers = tuned.setup_seconds / (chosen.seconds - tuned.seconds)
    return [f"Fine-tuning answers faster, which makes up for the training time after about {answers:,.0f} answers."]


def _on_price(measured: Sequence[Measured], chosen: Measured) -> list[str]:
    """How much shorter training makes the prompt, with and without a prompt cache."""
    tuned = next((one for one in measured if one.approach == "fine-tuning"), None)
    prompted = [one for one in measured if one.approach in ("zero-shot", "few-shot", "rag")]
    if tuned is None or not prompted:
        return []
    other = chosen if chosen in prompted else max(prompted, key=lambda one: one.quality.value)
    return [
        f"{other.approach} reads {other.prompt_tokens:.0f} tokens per question, billed as {other.billed_tokens:.0f} "
        f"with a prompt cache; fine-tuning reads {tuned.prompt_tokens:.0f}, billed as {tuned.billed_tokens:.0f}."
    ]


def approach_table(approaches: Mapping[str, Mapping[str, Any]], quality_is: str) -> tuple[list[str], list[list[str]]]:
    """The approaches as the command line, the demos and the pages show them: a head, and a row each.

    Args:
        approaches: By name, as `Comparison.as_dict` has them.
        quality_is: The score that quality stands for.
    """
    known = dict.fromkeys(name for one in approaches.values() for name in one["scores"])
    others = [name for name in _SCORES_OF_JSON if name in known] or [name for name in known if name != "stopped"]
    others = [name for name in others if name != quality_is]
    columns: list[tuple[str, Callable[[Mapping[str, Any]], str]]] = [
        (quality_is.replace("_", " "), lambda one: with_interval(one["quality"], ".0%")),
        *((name.replace("_", " "), partial(_score_of, name)) for name in others),
        ("passage found", lambda one: _share(one["found"])),
        ("after changes", lambda one: _share(one["up_to_date"])),
        ("seconds per answer", lambda one: f"{one['seconds']:.1f}"),
        ("tokens read", lambda one: f"{one['prompt_tokens']:.0f}"),
        ("cached", partial(_count_of, "cached_tokens")),
        ("billed", partial(_count_of, "billed_tokens")),
        ("tokens written", lambda one: f"{one['answer_tokens']:.0f}"),
        ("set-up (s)", lambda one: f"{one['setup_seconds']:.1f}"),
        ("stored (kB)", lambda one: f"{one['stored_bytes'] / 1000:,.1f}"),
    ]
    rows = [[show(one) for _name, show in columns] for one in approaches.values()]
    used = [place for place in range(len(columns)) if any(row[place] for row in rows)]
    head = ["", *(columns[place][0] for place in used)]
    return head, [[name, *(row[place] for place in used)] for name, row in zip(approaches, rows, strict=True)]


def _score_of(name: str, one: Mapping[str, Any]) -> str:
    return _share(one["scores"][name]["value"]) if name in one["scores"] else ""


def _count_of(name: str, one: Mapping[str, Any]) -> str:
    return f"{one[name]:.0f}" if name in one else ""  # records of earlier comparisons have no such count


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def quality_chart(approaches: Mapping[str, Mapping[str, Any]], quality_is: str) -> str:
    """The quality of each approach with its interval, as a chart."""
    points = {
        name: charts.Point(0.0, *(one["quality"][key] for key in ("value", "low", "high")))
        for name, one in approaches.items()
    }
    return charts.arms_chart(points, f"{quality_is.replace('_', ' ').capitalize()} of five approaches", "share correct")
