"""The lessons that pages train in the reader's browser: examples, their order and prompts, as our engine has them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ftdemo.data import Row
from ftdemo.recipe import Recipe
from ftdemo.site.plugins import Plugin
from ftdemo.site.rendering import render_template

if TYPE_CHECKING:
    from ftdemo.data.tokenize import Examples
    from ftdemo.training.learner import Learner

MODEL = "nano"
MODEL_FILES = (
    "config.json",
    "tokenizer.json",
    "model.safetensors",
    "tokenizer_config.json",
    "generation_config.json",
    "chat_template.jinja",
)
"""What a page needs of it: the first three to train, the others for those who keep what was trained."""
_USUAL = {"model": MODEL, "packing": True, "dtype": "float32", "device": "cpu"}
"""Of all lessons. Rows are packed, so that all batches have one shape: a browser compiles code for each new shape."""
_READ_BY_PAGES = {
    *("method", "seed", "max_length", "batch_tokens", "eval_every", "answer_tokens"),
    *("lr", "schedule", "warmup", "weight_decay", "rank", "alpha", "lr_ratio"),
}
"""Keys of a recipe that the page's trainer reads; a key that it does not read may change without a new lesson."""
_SHOWN = ("job", "unit", "asks", "placeholder", "first", "prompts", "wanted")
"""What a page shows of a lesson before anything is loaded."""
_PER_CENT = 100


class Lessons(Plugin):
    """The lessons of a site, under ``docs/assets/train-here/lessons``."""

    def files(self) -> Iterator[tuple[Path, str | bytes]]:
        """What pages include to train in the browser, and the model for it, compressed."""
        found = find_lessons(self.project.docs)
        for path in found:
            yield self.project.derived / "train-here" / f"{path.stem}.html", train_here(path.stem, read_lesson(path))
        for name in MODEL_FILES if found else ():
            content = gzip.compress((model_folder() / name).read_bytes(), mtime=0)
            yield self.project.docs / "assets" / "derived" / MODEL / f"{name}.gz", content


def train_here(name: str, lesson: Mapping[str, Any]) -> str:
    """The part of a page that trains a lesson in the reader's browser, and what our own engine reached with it."""
    shown = {key: lesson[key] for key in _SHOWN} | {"lesson": name, "own": lesson.get("own")}
    shown |= {"starts": list(lesson["starts"]), "hasRank": lesson.get("knob") == "rank"}
    shown["hasMicroscope"] = "lora" in lesson["starts"].values()
    results = []
    for start, measured in lesson["measured"].items():
        label = f"{start}: " if len(lesson["measured"]) > 1 else ""
        counted = f"{measured['after']} of {measured['of']} {lesson['unit']} (before: {measured['before']})"
        cost = f"held-out loss {measured['loss']:.2f} nats per token, {measured['seconds']:.0f} s of training"
        results.append(f"{label}{counted}, {cost}")
    return render_template("train_here.html", name=name, lesson=lesson, shown=shown, results=results)


def find_lessons(docs: Path) -> list[Path]:
    """The lessons of a site."""
    return sorted((docs / "assets" / "train-here" / "lessons").glob("*.yaml"))


def model_folder() -> Path:
    """The folder of the model's files."""
    return Path(str(files("ftdemo.models") / "weights" / MODEL))


def write_lesson(path: Path) -> dict[str, dict[str, float]]:
    """Train a lesson with our own engine, and write what a page needs to do the same, beside the lesson.

    Returns:
        What was reached, from each of its starts.
    """
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    learners = _learners(settings)
    content = _content(settings, next(iter(learners.values())))
    measured = {name: _measure(learner, settings["job"]) for name, learner in learners.items()}
    whole = json.dumps(content | {"measured": measured}, separators=(",", ":"))
    path.with_suffix(".json.gz").write_bytes(gzip.compress(whole.encode(), mtime=0))
    return measured


def read_lesson(path: Path) -> dict[str, Any]:
    """A lesson that was written."""
    found: dict[str, Any] = json.loads(gzip.decompress(path.with_suffix(".json.gz").read_bytes()))
    return found


def lesson_content(path: Path) -> dict[str, Any]:
    """All of a lesson but what was measured: the same for the same lesson, data and model."""
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    return _content(settings, next(iter(_learners(settings).values())))


def _content(settings: dict[str, Any], learner: Learner) -> dict[str, Any]:
    from ftdemo.evaluation.generate import prompt_of
    from ftdemo.training.loop import plan_heldout, plan_run

    prompts = [prompt_of(row, learner.tokenizer) for row in _prompted(learner)]
    return settings | {
        "recipe": learner.recipe.model_dump(mode="json", include=_READ_BY_PAGES),
        "chat": isinstance(learner.splits.heldout[0], Row),
        "prompts": [displayed for _, displayed, _ in prompts],
        "wanted": [] if settings["job"] == "text" else [reference for _, _, reference in prompts],
        "train": token_rows(learner.train),
        "heldout": token_rows(learner.heldout),
        "plan": list(plan_run(learner))[: learner.recipe.max_steps],
        "heldout_plan": list(plan_heldout(learner)),
    }


def _prompted(learner: Learner) -> Sequence[Any]:
    """The held-out examples that are answered."""
    return learner.splits.heldout[: learner.recipe.sample_prompts]


def _learners(settings: dict[str, Any]) -> dict[str, Learner]:
    """A model for each start of a lesson, ready to be trained."""
    from ftdemo.training.prepare import prepare

    return {
        name: prepare(Recipe(**_USUAL | settings["recipe"] | {"method": method}))
        for name, method in settings["starts"].items()
    }


def _measure(learner: Learner, job: str) -> dict[str, float]:
    """What our own training of a lesson reaches, and the seconds that it takes."""
    from ftdemo.events import Evaluated, Finished
    from ftdemo.training.loop import train

    before, _ = _count_right(learner, job)
    events = list(train(learner.recipe, learner))
    after, shown = _count_right(learner, job)
    return {
        "loss": round(next(event.loss for event in reversed(events) if isinstance(event, Evaluated)), 4),
        "seconds": round(next(event.seconds for event in events if isinstance(event, Finished)), 1),
        "before": before,
        "after": after,
        "shown": shown,
        "of": _PER_CENT if job == "text" else len(learner.splits.heldout),
    }


def _count_right(learner: Learner, job: str) -> tuple[int, int]:
    """How many held-out examples are answered correctly, and how many of those that a page shows.

    Of a text, how many of 100 tokens are predicted, twice.
    """
    from ftdemo.evaluation.evaluate import score
    from ftdemo.evaluation.generate import answer_rows

    if job == "text":
        predicted = round(_PER_CENT * _predicted(learner))
        return predicted, predicted
    recipe, rows = learner.recipe, learner.splits.heldout
    answers = answer_rows(learner.model, learner.tokenizer, rows, max_new_tokens=recipe.answer_tokens)
    scores = (score(answer, row, recipe.data) for answer, row in zip(answers, rows, strict=True))
    right = [bool(each["stopped"] and each.get("all_fields", each["exact_match"])) for each in scores]
    return sum(right), sum(right[: recipe.sample_prompts])


def _predicted(learner: Learner) -> float:
    """The share of the trained held-out tokens that the model holds for the likeliest."""
    import torch

    hits = count = 0
    learner.model.eval()
    with torch.no_grad():
        for example in learner.heldout:
            ids = torch.tensor(example.input_ids)
            trained = torch.tensor(example.completion_mask)[1:]
            likeliest = learner.model(input_ids=ids[None]).logits[0, :-1].argmax(-1)
            hits += int((likeliest == ids[1:])[trained].sum())
            count += int(trained.sum())
    return hits / count


def token_rows(examples: Examples) -> list[dict[str, Any]]:
    """Token ids, and from where to where they are trained."""
    return [
        {
            "input_ids": example.input_ids,
            "trained": [[span.start, span.stop] for span in _spans(example.completion_mask)],
        }
        for example in examples
    ]


def _spans(flags: tuple[bool, ...]) -> Iterator[range]:
    start = None
    for place, flag in enumerate((*flags, False)):
        if flag and start is None:
            start = place
        elif not flag and start is not None:
            yield range(start, place)
            start = None
