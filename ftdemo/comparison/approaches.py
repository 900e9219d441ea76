"""Approaches: how prompting, retrieval and fine-tuning answer a question; and the tasks on which they are compared."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ftdemo.data import BUILT_IN, Row, Turn, load_splits
from ftdemo.data.documents import read_documents
from ftdemo.data.rows import read_changes
from ftdemo.data.sets.high_street import SHORT_INSTRUCTION
from ftdemo.data.sets.tickets import INSTRUCTION
from ftdemo.data.tokenize import render
from ftdemo.errors import UsageError
from ftdemo.evaluation.generate import answer_rows
from ftdemo.evaluation.retrieval import Search, make_search
from ftdemo.events import Answer
from ftdemo.models.tokenizer import window_of
from ftdemo.recipe import Recipe, named

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Approach = Literal["zero-shot", "few-shot", "rag", "fine-tuning", "fine-tuning+rag"]
APPROACHES: tuple[Approach, ...] = ("zero-shot", "few-shot", "rag", "fine-tuning", "fine-tuning+rag")
"""From the least effort to the most: the first that is good enough is advised."""
TUNED = ("fine-tuning", "fine-tuning+rag")
RETRIEVING = ("rag", "fine-tuning+rag")
SHOTS = 4
"""Solved examples in a prompt, and passages that are searched for."""
CACHED_PRICE = 0.1
"""Price of a prompt token that a provider finds in its cache, as a share of the usual price.

Mistral and Anthropic bill cached tokens at a tenth (their price lists, checked November 2026). Anthropic bills storing
them at 1.25 times the usual price, which this leaves out. Where a cache needs a longer beginning than a prompt has, as
OpenAI's does (1,024 tokens), set 1.
"""


@dataclass(frozen=True)
class Changed:
    """A fact that is no longer what it was: the passage that takes the old one's place, and a question about it."""

    old: str
    new: str
    row: Row


@dataclass(frozen=True)
class Task:
    """The questions that every approach answers, and what it may use for that."""

    name: str
    data: str
    """The rows, as a recipe names them: those to train on and to take examples from, and those to judge by."""
    instruction: str = ""
    """The system turn for a model that is not tuned, unless a row has its own."""
    documents: tuple[str, ...] = ()
    """Passages to search. Without any, retrieval finds solved examples instead."""
    changes: tuple[Changed, ...] = ()
    recipe: str = "lora"
    """The named recipe that tunes a model for it."""


def tasks() -> dict[str, Task]:
    """The tasks that come with the package: *handbook* is about facts, the two sorts of tickets about a format."""
    handbook = BUILT_IN["handbook"].folder
    return {
        "handbook": Task(
            "handbook",
            "handbook",
            "Answer the question about our shop in one short sentence.",
            *_documents_of(handbook),
            recipe="handbook",
        ),
        "short-tickets": Task("short-tickets", "short-tickets", SHORT_INSTRUCTION),
        "tickets": Task("tickets", "tickets", INSTRUCTION, recipe="tickets"),
    }


def load_task(data: Path, *, instruction: str = "", documents: Path | None = None) -> Task:
    """A task from the user's own data.

    Args:
        data: A file of rows, or a folder with ``train.jsonl`` and ``heldout.jsonl``. Such a folder may hold passages to
            search in, as ``documents.jsonl``, and ``changes.jsonl``: rows that also say which passage (`old`) is now
            another (`new`).
        instruction: The system turn for a model that is not tuned.
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


def apply_changes(task: Task) -> Task:
    """The task once its facts have changed: with the passages corrected."""
    return replace(task, documents=tuple(_corrected(passage, task.changes) for passage in task.documents))


def _corrected(passage: str, changes: Sequence[Changed]) -> str:
    for change in changes:
        passage = passage.replace(change.old, change.new)
    return passage


def tuning_recipe(task: Task, model: str, settings: Mapping[str, Any]) -> Recipe:
    """The recipe that tunes a model for a task."""
    usual = {"data": task.data, "model": model, "examples": None}
    return named(task.recipe, model).with_settings(usual | dict(settings))


@dataclass(frozen=True)
class Prompts:
    """Builds each approach's prompt for a question: with an instruction, examples or notes."""

    task: Task
    examples: tuple[Row, ...]
    """All of the training examples."""
    shots: tuple[Row, ...]
    """Those in a few-shot prompt."""

    @classmethod
    def of(cls, task: Task, recipe: Recipe) -> Prompts:
        """The prompts of a task, with the rows that the recipe trains on as examples."""
        train = load_splits(recipe.data, seed=recipe.seed, examples=recipe.examples).train
        examples = tuple(row for row in train if isinstance(row, Row))
        shots = random.Random(recipe.seed).sample(examples, min(SHOTS, len(examples)))
        return cls(task, examples, tuple(shots))

    @property
    def passages(self) -> tuple[str, ...]:
        """What retrieval searches."""
        return self.task.documents or tuple(row.prompt[-1].content for row in self.examples)

    def build(self, approach: Approach, row: Row, search: Search | None) -> Row:
        """The row with the approach's prompt; `search` is over the passages, for an approach that retrieves."""
        system = [turn for turn in row.prompt if turn.role == "system"]
        *earlier, question = (turn for turn in row.prompt if turn.role != "system")
        if self.task.instruction and not system and approach not in TUNED:
            system = [Turn("system", self.task.instruction)]
        examples: Sequence[Row] = self.shots if approach == "few-shot" else ()
        if search:
            nearest = search.best(question.content, SHOTS)[::-1]  # the best one last, next to the question
            if self.task.documents:
                notes = "\n".join(f"- {self.task.documents[place]}" for place in nearest)
                question = Turn("user", f"Notes:\n{notes}\n\nQuestion: {question.content}")
            else:
                examples = [self.examples[place] for place in nearest]
        solved = [turn for example in examples for turn in example.turns if turn.role != "system"]
        turns = (*system, *solved, *earlier, question, Turn("assistant", row.reference))
        return replace(row, turns=turns)


@dataclass(frozen=True)
class Reply:
    """One answer, and what it cost."""

    text: str
    seconds: float
    prompt_tokens: int
    cached_tokens: int
    """Those of the prompt's tokens with which every prompt of this approach begins."""
    answer_tokens: int
    read: str
    """All that the model read."""


def answer_question(
    approach: Approach, question: str, prompts: Prompts, model: Any, tokenizer: Any, *, max_new_tokens: int
) -> Reply:
    """The answer to one question by one approach.

    Args:
        approach: The approach.
        question: The user's turn.
        prompts: Builds the prompt.
        model: Tuned, if the approach needs that.
        tokenizer: The model's.
        max_new_tokens: Tokens of an answer, at most.

    Raises:
        UsageError: If the model cannot read the whole prompt.
    """
    search = make_search("bm25", prompts.passages) if approach in RETRIEVING else None
    row = prompts.build(approach, Row(1, (Turn("user", question), Turn("assistant", ""))), search)
    other = prompts.build(approach, prompts.examples[0], search)
    refuse_too_long(approach, [row], model, tokenizer, max_new_tokens)
    began = time.perf_counter()
    [answer] = answer_rows(model, tokenizer, [row], max_new_tokens=max_new_tokens)
    seconds = time.perf_counter() - began
    read = "\n\n".join(turn.content for turn in row.prompt)
    tokens = [prompt_tokens(tokenizer, each) for each in (row, other)]
    return Reply(
        answer.text, seconds, len(tokens[0]), shared_beginning(tokens), tokens_written(tokenizer, answer), read
    )


def refuse_too_long(
    approach: Approach, prompts: Sequence[Row], model: Any, tokenizer: Any, max_new_tokens: int
) -> None:
    """Refuse prompts that do not fit into the model's context window together with their answers.

    Raises:
        UsageError: If one is too long.
    """
    window = window_of(model.config)
    longest = max(len(prompt_tokens(tokenizer, prompt)) for prompt in prompts)
    if window and longest + max_new_tokens > window:
        raise UsageError(
            f"{approach}: a prompt has {longest} tokens and its answer up to {max_new_tokens}, but the model reads "
            f"{window}.",
            "Leave this approach out, shorten the examples and passages, or choose another model.",
        )


def prompt_tokens(tokenizer: PreTrainedTokenizerBase, row: Row) -> list[int]:
    """The tokens of a prompt, as the chat template has it."""
    text = render(row.prompt, tokenizer, to_be_answered=True, tools=row.tools)
    return list(tokenizer.encode(text, add_special_tokens=False))


def shared_beginning(prompts: Sequence[list[int]]) -> int:
    """The number of tokens with which all prompts begin: what a provider's prompt cache can hold.

    Args:
        prompts: Token ids of each prompt. One alone shares nothing.
    """
    if len(prompts) < 2:
        return 0
    return sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, zip(*prompts, strict=False)))


def tokens_written(tokenizer: PreTrainedTokenizerBase, answer: Answer) -> int:
    """Tokens of an answer, the stop token included."""
    return len(tokenizer.encode(answer.text, add_special_tokens=False)) + answer.stopped
