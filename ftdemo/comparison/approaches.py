"""Approaches: the ways in which a question can be put to a model, and the tasks on which they are compared."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ftdemo.data import BUILT_IN, Row, Turn, load_splits
from ftdemo.data.documents import read_documents
from ftdemo.data.rows import read_changes
from ftdemo.data.sets.shop_orders import INSTRUCTION as ORDER
from ftdemo.data.tokenize import render
from ftdemo.errors import UsageError
from ftdemo.evaluation.generate import answer_rows
from ftdemo.evaluation.retrieval import Search, make_search
from ftdemo.events import Answer
from ftdemo.recipe import Recipe, named

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Way = Literal["zero-shot", "few-shot", "rag", "fine-tuning", "fine-tuning+rag"]
WAYS: tuple[Way, ...] = ("zero-shot", "few-shot", "rag", "fine-tuning", "fine-tuning+rag")
"""From the least effort to the most: whoever is good enough first is advised."""
TUNED = ("fine-tuning", "fine-tuning+rag")
SEARCHING = ("rag", "fine-tuning+rag")
SHOTS = 4
"""Solved examples in a prompt, and passages that are searched for."""


@dataclass(frozen=True)
class Changed:
    """A fact that is no longer what it was: the passage that takes the old one's place, and a question about it."""

    old: str
    new: str
    row: Row


@dataclass(frozen=True)
class Task:
    """What is asked of every approach."""

    name: str
    data: str
    """The rows, as a recipe names them: those to train on and to take examples from, and those to judge by."""
    instruction: str = ""
    """What a model that was not tuned is told. Of its own, a row may have a system turn instead."""
    documents: tuple[str, ...] = ()
    """Passages to search in. Without any, what is searched for is solved examples."""
    changes: tuple[Changed, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the recipe that tunes."""


def tasks() -> dict[str, Task]:
    """The tasks that come with the package: one is about facts, the other about form."""
    facts = BUILT_IN["shop-facts"].folder
    return {
        "facts": Task(
            "facts",
            "shop-facts",
            "Answer the customer's question about our shop in one short sentence.",
            *_documents_of(facts),
            {"epochs": 10, "batch_tokens": 512, "rank": 16, "answer_tokens": 32},
        ),
        "form": Task("form", "shop-orders", ORDER, settings={"epochs": 2, "batch_tokens": 512, "answer_tokens": 48}),
    }


def own_task(data: Path, *, instruction: str = "", documents: Path | None = None) -> Task:
    """A task of the user's own.

    Args:
        data: A file of rows, or a folder with ``train.jsonl`` and ``heldout.jsonl``. Such a folder may hold passages to
            search in, as ``documents.jsonl``, and ``changes.jsonl``: rows that also say which passage (`old`) is now
            another (`new`).
        instruction: What a model that was not tuned is told.
        documents: Passages to search in, where they lie elsewhere: a file of texts or a folder of text files.

    Raises:
        DataError: If something cannot be read.
    """
    passages, changes = _documents_of(data) if data.is_dir() else ((), ())
    if documents is not None:
        passages = tuple(read_documents(documents))
    return Task(data.name, str(data), instruction, passages, changes)


def _documents_of(folder: Path) -> tuple[tuple[str, ...], tuple[Changed, ...]]:
    documents, changes = folder / "documents.jsonl", folder / "changes.jsonl"
    passages = tuple(read_documents(documents)) if documents.is_file() else ()
    if not changes.is_file():
        return passages, ()
    return passages, tuple(Changed(*change) for change in read_changes(changes, passages))


def after_changes(task: Task) -> Task:
    """The task once its facts have changed: with the passages corrected."""
    now = {change.old: change.new for change in task.changes}
    return replace(task, documents=tuple(now.get(passage, passage) for passage in task.documents))


def tuning(task: Task, model: str, settings: Mapping[str, Any]) -> Recipe:
    """The recipe that tunes a model for a task."""
    usual = {"data": task.data, "model": model, "examples": None}
    return named("lora", model).with_settings(usual | dict(task.settings) | dict(settings))


@dataclass(frozen=True)
class Prompts:
    """How each approach puts a question: with what instruction, examples and notes."""

    task: Task
    examples: tuple[Row, ...]
    """All of the training rows."""
    shots: tuple[Row, ...]
    """Those that are shown to a model that was not tuned."""

    @classmethod
    def of(cls, task: Task, recipe: Recipe) -> Prompts:
        """Those of a task, with the rows that the recipe trains on."""
        train = load_splits(recipe.data, seed=recipe.seed, examples=recipe.examples).train
        examples = tuple(row for row in train if isinstance(row, Row))
        shots = random.Random(recipe.seed).sample(examples, min(SHOTS, len(examples)))
        return cls(task, examples, tuple(shots))

    @property
    def passages(self) -> tuple[str, ...]:
        """What is searched in."""
        return self.task.documents or tuple(row.prompt[-1].content for row in self.examples)

    def put(self, way: Way, row: Row, search: Search | None) -> Row:
        """The row as this approach puts it to the model; with a search over the passages where it searches."""
        *earlier, asked = (turn for turn in row.prompt if turn.role != "system")
        own = [turn for turn in row.prompt if turn.role == "system"]
        told = own if way in TUNED or own or not self.task.instruction else [Turn("system", self.task.instruction)]
        shown: Sequence[Row] = self.shots if way == "few-shot" else ()
        if search:
            nearest = search.best(asked.content, SHOTS)[::-1]  # the best one last, next to the question
            if self.task.documents:
                notes = "\n".join(f"- {self.task.documents[place]}" for place in nearest)
                asked = Turn("user", f"Notes:\n{notes}\n\nQuestion: {asked.content}")
            else:
                shown = [self.examples[place] for place in nearest]
        solved = [turn for one in shown for turn in one.turns if turn.role != "system"]
        return Row(row.number, (*told, *solved, *earlier, asked, Turn("assistant", row.reference)), row.constraints)


@dataclass(frozen=True)
class Reply:
    """One answer, and what it cost."""

    text: str
    seconds: float
    prompt_tokens: int
    answer_tokens: int
    read: str
    """All that the model read."""


def reply(way: Way, question: str, prompts: Prompts, voice: tuple[Any, Any], *, longest: int) -> Reply:
    """One question, put in one way.

    Args:
        way: The approach.
        question: What is asked.
        prompts: How approaches put it.
        voice: A model, tuned or not as the approach asks for, and its tokenizer.
        longest: Tokens of an answer, at most.

    Raises:
        UsageError: If the model cannot read all of it.
    """
    model, tokenizer = voice
    search = make_search("bm25", prompts.passages) if way in SEARCHING else None
    row = prompts.put(way, Row(1, (Turn("user", question), Turn("assistant", ""))), search)
    refuse_too_long(way, [row], model, tokenizer, longest)
    began = time.perf_counter()
    [answer] = answer_rows(model, tokenizer, [row], max_new_tokens=longest)
    seconds = time.perf_counter() - began
    read = "\n\n".join(turn.content for turn in row.prompt)
    return Reply(answer.text, seconds, tokens_read(tokenizer, row), tokens_written(tokenizer, answer), read)


def refuse_too_long(way: Way, prompts: Sequence[Row], model: Any, tokenizer: Any, answer: int) -> None:
    """Refuse prompts that the model cannot read whole, with answers of up to so many tokens.

    Raises:
        UsageError: If one is too long.
    """
    window = getattr(model.config, "max_position_embeddings", None)
    longest = max(tokens_read(tokenizer, prompt) for prompt in prompts)
    if window and longest + answer > window:
        what = f"{way}: a prompt has {longest} tokens and its answer up to {answer}, but the model reads {window}."
        raise UsageError(what, "Leave this way out, shorten examples and passages, or take another model.")


def tokens_read(tokenizer: PreTrainedTokenizerBase, row: Row) -> int:
    """Tokens of a prompt, as the chat template has it."""
    return len(tokenizer.encode(render(row.prompt, tokenizer, to_be_answered=True), add_special_tokens=False))


def tokens_written(tokenizer: PreTrainedTokenizerBase, answer: Answer) -> int:
    """Tokens of an answer, the stop token included."""
    return len(tokenizer.encode(answer.text, add_special_tokens=False)) + answer.stopped
