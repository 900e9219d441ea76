"""Panels as HTML: the same words in the same places in every demo. Their templates escape all text they are given."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ftdemo.errors import FtdemoError
from ftdemo.events import Answer, Sampled
from ftdemo.runs.adapters import ScoredToken
from ftdemo.ui.verdicts import NO_VERDICT, Verdict, verdict_of

_TEMPLATES = Environment(loader=PackageLoader("ftdemo.ui"), autoescape=True, undefined=StrictUndefined)
_VISIBLE_ANSWERS = 3
_LEVELS = (2, 10, 100)
"""From how many times on a token that an adapter makes more or less likely has a stronger colour."""
_Answer = tuple[str, str, Verdict, bool]
"""Title, text, what is right or wrong about it, and whether the text is still to come."""


def status_line(text: str, *, error: bool = False) -> str:
    """One line on what happens now; screen readers read it out when it changes."""
    return _render("status_line", text, error)


def error_line(error: FtdemoError) -> str:
    """What is wrong, and what to do about it."""
    return status_line(f"{error.what} {error.remedy}", error=True)


def rejected_rows(faults: Sequence[str], *, complete: bool) -> str:
    """What is wrong with rows, one line each.

    Args:
        faults: The sentences.
        complete: Whether these are all faults.
    """
    return _render("rejected_rows", faults, "" if complete else " There may be more.")


def cost_estimate(seconds: float, *, complete: bool = True, memory: float | None = None) -> str:
    """The time and memory that a run should take on this machine.

    Args:
        seconds: The time.
        complete: Whether that includes what the demo measures after training.
        memory: The memory in bytes, where it is known.
    """
    time = f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
    note = "" if complete else " The tests after training come on top; their time is not known yet."
    return _render("cost_estimate", time, f", and {memory / 1e9:.1f} GB of memory" if memory else "", note)


def findings_list(findings: Iterable[tuple[str, str]]) -> str:
    """What a visitor should know of rows before training, each with the address of the page that explains it."""
    findings = list(findings)
    return _render("findings_list", findings) if findings else ""


def marked_tokens(spans: Iterable[tuple[str, bool]]) -> str:
    """A row as the model reads it, with the tokens marked that have a loss."""
    return _render("marked_tokens", spans)


def figures(entries: dict[str, str]) -> str:
    """A row of figures, each under its name."""
    return _render("figures", entries.items())


def html_table(rows: Sequence[Sequence[str]]) -> str:
    """A table. The first row has the names of the columns, the first column those of the rows."""
    return _render("html_table", rows)


def answers_side_by_side(prompt: str, answers: Iterable[tuple[str, str, str]]) -> str:
    """One prompt with several answers.

    Args:
        prompt: The prompt.
        answers: Title, text and note of each; the note may be empty.
    """
    return _answers([(prompt, [(title, text.strip(), Verdict(note), False) for title, text, note in answers])])


def before_and_after(prompt: str, before: str, after: str) -> str:
    """One prompt with the answers before and after training, side by side."""
    return answers_side_by_side(prompt, [("Before training", before, ""), ("After training", after, "")])


def sampled_answers(
    before: Sampled | None, after: Sampled | None, waiting: str = "Press Train to see the answer.", *, data: str = ""
) -> str:
    """Held-out prompts with the answers before and after, side by side; on a phone one above the other.

    Args:
        before: The untrained model's answers; without them there is nothing.
        after: The trained model's, once there are some.
        waiting: The text in their place until then.
        data: The data set, by whose checks answers are called right or wrong.
    """
    if before is None:
        return ""

    def judged(title: str, answer: Answer) -> _Answer:
        """An answer with its title and its verdict."""
        return title, answer.text.strip(), verdict_of(answer, data), False

    later: list[_Answer] = [("After training", waiting, NO_VERDICT, True)] * len(before.answers)
    if after:
        later = [judged("After training", answer) for answer in after.answers]
    pairs = zip(before.answers, later, strict=True)
    return _answers([(old.prompt, [judged("Before training", old), new]) for old, new in pairs])


def token_levels(tokens: Sequence[ScoredToken]) -> str:
    """An answer's tokens, each coloured by how much more or less likely the adapter makes it, with a legend."""
    shown = [
        (
            token.text or "■ stop",
            sum(abs(token.tuned - token.base) > math.log(times) for times in _LEVELS),
            f"{_percent(token.tuned)} with the adapter, {_percent(token.base)} without it",
        )
        for token in tokens
    ]
    names = (f"up to {_LEVELS[0]} times", *(f"{low} to {high} times" for low, high in pairwise(_LEVELS)))
    return _render("token_levels", shown, (*names, f"over {_LEVELS[-1]} times"))


def _percent(log_probability: float) -> str:
    share = math.exp(log_probability)
    return "under 0.001%" if share < 1e-5 else f"{share:.3%}" if share < 0.01 else f"{share:.0%}"


def _answers(articles: Sequence[tuple[str, Sequence[_Answer]]]) -> str:
    return _render("answer_articles", articles, _VISIBLE_ANSWERS)


def _render(macro: str, *arguments: Any) -> str:
    """The HTML of a macro, as a plain string: added to a picture, Jinja2's own kind would escape the picture."""
    return str(getattr(_TEMPLATES.get_template("panels.html").module, macro)(*arguments))
