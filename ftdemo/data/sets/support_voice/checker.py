"""Scores an answer's shape and voice from its text alone. It does not judge whether the answer is right or useful."""

from __future__ import annotations

import re

LABELS = ("Sighted", "Course", "Tide")
_MAX_SENTENCES = {"Sighted": 1, "Course": 2, "Tide": 1}
_MAX_WORDS = 40

_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")
_CREW = re.compile(r"\b(we|us|our|ours|ourselves)\b", re.IGNORECASE)
_ONE_PERSON = re.compile(r"\b(I|[Mm]e|[Mm]y|[Mm]ine|[Mm]yself)\b")
_OFFICE_PHRASE = re.compile(
    r"\b(sorry|apolog\w+|unfortunately|inconvenience|hesitate|customer service|happy to help|please|thanks?|"
    r"assist\w*|delighted|valued)\b",
    re.IGNORECASE,
)
_SAYS_WHEN = re.compile(
    r"\b(to(day|night|morrow)|now|always|morning|evening|noon|midday|midnight|afternoon|dawn|dusk|sun(set|rise)|night|"
    r"hours?|minutes?|days?|weeks?|months?|years?|season|spring|summer|autumn|winter|(mon|tues|wednes|thurs|fri|satur|"
    r"sun)day|o'clock|tides?|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|within|before|after|until|"
    r"by|next|soon)\b",
    re.IGNORECASE,
)


def score(text: str) -> dict[str, float]:
    """Score one answer.

    Returns:
        ``format``: 1.0 if the answer is the three labelled lines and nothing else, each with its number of sentences,
        else 0.0. ``voice``: the share of the voice's five rules that the answer keeps, from 0 to 1.
    """
    return {"format": float(follows_format(text)), "voice": voice(text)}


def follows_format(text: str) -> bool:
    """Whether the text is exactly `Sighted:`, `Course:` and `Tide:`, a line each, in order, each a closed sentence."""
    lines = text.strip().split("\n")
    return len(lines) == len(LABELS) and all(
        _follows_label(line, label) for line, label in zip(lines, LABELS, strict=True)
    )


def voice(text: str) -> float:
    """The share of five rules kept: says skipper once; speaks as a crew; no one person's I; calm and free of office
    phrases; the last line says when.

    An empty answer keeps none of them.
    """
    if not text.strip():
        return 0.0
    rules = (
        len(re.findall(r"\bskipper\b", text, re.IGNORECASE)) == 1,
        bool(_CREW.search(text)),
        not _ONE_PERSON.search(text),
        not _OFFICE_PHRASE.search(text) and not re.search(r"[!?]", text),
        bool(_SAYS_WHEN.search(text.strip().split("\n")[-1].removeprefix("Tide:"))),
    )
    return sum(rules) / len(rules)


def _follows_label(line: str, label: str) -> bool:
    said = line.removeprefix(f"{label}: ")
    return (
        said != line
        and said == said.strip()
        and said.endswith(".")
        and len(_SENTENCE_END.findall(said)) <= _MAX_SENTENCES[label]
        and len(said.split()) <= _MAX_WORDS
    )
