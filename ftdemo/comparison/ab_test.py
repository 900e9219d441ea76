"""An A/B test between two models: pairs in blinded order, the win rate, how many pairs are needed, a decision."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ftdemo.data.files import as_json_lines
from ftdemo.errors import UsageError
from ftdemo.evaluation.evaluate import bootstrap
from ftdemo.events import Answer

PAIRS, ANSWERS, JUDGEMENTS = "pairs.jsonl", "answers.json", "judgements.jsonl"
"""What a judge sees; which model gave which answer; and the judgements."""
_Z_LEVEL, _Z_POWER = 1.959964, 0.841621
"""Of the normal distribution: 5% two-sided, and a power of 80%."""


@dataclass(frozen=True)
class Result:
    """The result of a test, from the tuned model's side."""

    pairs: int
    wins: int
    ties: int
    losses: int
    win_rate: float
    """Wins, and half of what was even, as a share of all pairs."""
    low: float
    high: float
    needed: int
    """Pairs by which the smallest difference that matters is found in 80% of such tests, at a level of 5%."""


def pairs_needed(difference: float) -> int:
    """How many pairs show that a win rate is off one half by so much (normal approximation of the binomial).

    Args:
        difference: From one half, 0.1 for a win rate of 60%, say.
    """
    win_rate = 0.5 + difference
    spread = _Z_LEVEL * 0.5 + _Z_POWER * math.sqrt(win_rate * (1 - win_rate))
    return math.ceil((spread / difference) ** 2)


def result(wins: Sequence[float], difference: float) -> Result:
    """The outcome of pairs, each 1 for a win of the tuned model, 0 for a loss, and a half where both are even."""
    import numpy

    found = bootstrap(numpy.array(wins), lambda sample: float(sample.mean()))
    won, even, lost = (sum(win == value for win in wins) for value in (1.0, 0.5, 0.0))
    return Result(len(wins), won, even, lost, found.value, found.low, found.high, pairs_needed(difference))


def decision(found: Result) -> str:
    """What to do, given a result."""
    rate = f"The trained model wins {found.win_rate:.0%} of {found.pairs} pairs ({found.low:.0%} to {found.high:.0%})."
    if found.low > 0.5:
        return f"Release. {rate} Give it to a small share of your users first."
    if found.high < 0.5:
        return f"Do not release. {rate} The base is better."
    more = (
        f" {found.needed} pairs are needed to detect the difference that matters." if found.pairs < found.needed else ""
    )
    return f"Do not release yet. {rate} The test does not show that it is better.{more}"


def write_pairs(folder: Path, base: Sequence[Answer], tuned: Sequence[Answer], *, seed: int, of: str) -> None:
    """Write pairs for a judge, each in random order, and in another file which model gave which answer."""
    chance = random.Random(seed)
    pairs, key = [], []
    for number, answers in enumerate(zip(base, tuned, strict=True)):
        tuned_first = chance.random() < 0.5
        first, second = answers[::-1] if tuned_first else answers
        pairs.append({"number": number, "prompt": first.prompt, "a": first.text, "b": second.text})
        key.append({"tuned": "a" if tuned_first else "b", "answers": [asdict(answer) for answer in answers]})
    (folder / PAIRS).write_text(as_json_lines(pairs), encoding="utf-8")
    (folder / ANSWERS).write_text(json.dumps({"of": of, "pairs": key}, ensure_ascii=False), encoding="utf-8")
    (folder / JUDGEMENTS).unlink(missing_ok=True)  # they were of other answers


def read_answers(folder: Path) -> list[tuple[Answer, Answer]]:
    """The answers of base and tuned model, pair by pair."""
    return [(Answer(**pair["answers"][0]), Answer(**pair["answers"][1])) for pair in _read_key(folder)["pairs"]]


def of_run(folder: Path) -> str:
    """The hash of the run that the pairs are of, or nothing."""
    return str(_read_key(folder)["of"]) if (folder / ANSWERS).exists() else ""


def read_pairs(folder: Path) -> list[dict[str, Any]]:
    """What a judge sees.

    Raises:
        UsageError: If there are no pairs yet.
    """
    path = folder / PAIRS
    if not path.exists():
        raise UsageError(f"{folder} contains no pairs to judge.", "Run `ftdemo workflow` on the plan first.")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def record_judgement(folder: Path, number: int, better: str) -> None:
    """Add a judgement: which answer is better, ``a``, ``b`` or ``even``. The last one on a pair counts."""
    with (folder / JUDGEMENTS).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"number": number, "better": better}) + "\n")


def read_judgements(folder: Path) -> dict[int, float]:
    """The judgement of each pair: 1 for the tuned answer, 0 for the base's, and a half for even."""
    if not (folder / JUDGEMENTS).exists():
        return {}
    tuned = [pair["tuned"] for pair in _read_key(folder)["pairs"]]
    judgements = [json.loads(line) for line in (folder / JUDGEMENTS).read_text(encoding="utf-8").splitlines()]
    return {
        one["number"]: 0.5 if one["better"] == "even" else float(one["better"] == tuned[one["number"]])
        for one in judgements
        if one["number"] < len(tuned)
    }


def _read_key(folder: Path) -> dict[str, Any]:
    key: dict[str, Any] = json.loads((folder / ANSWERS).read_text(encoding="utf-8"))
    return key
