"""Panels as HTML: the same words in the same places in every demo. Whatever a model or a visitor wrote is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from ftdemo.errors import FtdemoError
from ftdemo.events import Answer, Sampled

_SHOWN_AT_ONCE = 3


def status(text: str, *, error: bool = False) -> str:
    """One line on what happens now; screen readers are told when it changes."""
    role, style = ("alert", "ft-status ft-error") if error else ("status", "ft-status")
    return f'<div class="{style}" role="{role}" aria-live="polite">{escape(text)}</div>'


def refusal(error: FtdemoError) -> str:
    """What is wrong, and what to do about it."""
    return status(f"{error.what} {error.remedy}", error=True)


def expected(seconds: float, *, whole: bool = True, memory: float | None = None) -> str:
    """What a run should take on this machine.

    Args:
        seconds: So long.
        whole: Whether that counts what is measured when training is over.
        memory: So many bytes, where that is known.
    """
    told = f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
    held = f", and {memory / 1e9:.1f} GB of memory" if memory else ""
    more = "" if whole else " What is measured after it is not counted: nobody has waited for it yet."
    return f'<p class="ft-expected">Expected here: about {told}, questions included{held}.{more}</p>'


def findings(found: Iterable[tuple[str, str]]) -> str:
    """What should be known of rows before they are trained on, each with the page that explains it."""
    rows = "".join(
        f'<li>{escape(text)} <a href="{escape(page)}" target="_blank" rel="noopener">Why?</a></li>'
        for text, page in found
    )
    return f'<ul class="ft-findings">{rows}</ul>' if rows else ""


def tokens(spans: Iterable[tuple[str, bool]]) -> str:
    """A row as the model reads it: what is read only, and what is trained, marked."""
    pieces = [f"<mark>{escape(text)}</mark>" if trained else escape(text) for text, trained in spans]
    return f'<p class="ft-tokens" tabindex="0" role="region" aria-label="One row">{"".join(pieces)}</p>'


def numbers(entries: dict[str, str]) -> str:
    """A row of figures, each under its name."""
    cells = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in entries.items())
    return f'<dl class="ft-numbers">{cells}</dl>'


def table(rows: Sequence[Sequence[str]]) -> str:
    """A table. The first row has the columns' names, the first column the rows'."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in rows[0])
    body = ""
    for name, *cells in rows[1:]:
        body += f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'
    return f'<table class="ft-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def said(title: str, asked: str, answer: str) -> str:
    """One question with one answer."""
    return f'<div class="ft-answers">{_article(asked, _said(title, answer), "")}</div>'


def answers(before: Sampled | None, after: Sampled | None, waiting: str = "Press Train to see.") -> str:
    """Held-out prompts with the answers before and after, side by side; on a phone one above the other."""
    if before is None:
        return ""
    later: Sequence[Answer | None] = after.answers if after else [None] * len(before.answers)
    pairs = [_pair(old, new, waiting) for old, new in zip(before.answers, later, strict=True)]
    first, rest = "".join(pairs[:_SHOWN_AT_ONCE]), "".join(pairs[_SHOWN_AT_ONCE:])
    more = f"<details><summary>{len(pairs) - _SHOWN_AT_ONCE} more</summary>{rest}</details>" if rest else ""
    return f'<div class="ft-answers">{first}{more}</div>'


def pair(asked: str, before: str, after: str) -> str:
    """One question with the answers before and after, side by side."""
    return f'<div class="ft-answers">{_article(asked, _said("Before", before), _said("After", after))}</div>'


def several(asked: str, replies: Iterable[tuple[str, str, str]]) -> str:
    """One question with several answers, each with who gives it and what it cost."""
    cards = "".join(_said(title, text, note=note) for title, text, note in replies)
    return f'<div class="ft-answers">{_article(asked, cards, "")}</div>'


def _pair(before: Answer, after: Answer | None, waiting: str) -> str:
    new = _said("After", after.text) if after else _said("After", waiting, pending=True)
    return _article(before.prompt, _said("Before", before.text), new)


def _article(asked: str, old: str, new: str) -> str:
    return f'<article><p class="ft-letter">“{escape(asked)}”</p><div class="ft-pair">{old}{new}</div></article>'


def _said(title: str, text: str, *, pending: bool = False, note: str = "") -> str:
    style = "ft-said ft-pending" if pending else "ft-said"
    below = f'<p class="ft-note">{escape(note)}</p>' if note else ""
    return f'<div><h3>{title}</h3><p class="{style}">{escape(text.strip())}</p>{below}</div>'
