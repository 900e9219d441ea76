"""Prompting, RAG or fine-tuning, live: one question in four ways, and the cost of each; then a fact changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import gradio as gr

from ftdemo.comparison.approaches import TUNED, Approach, Reply, Task, apply_changes, tasks
from ftdemo.data import Row, load_splits
from ftdemo.errors import FtdemoError, UsageError
from ftdemo.recipe import NAMED
from ftdemo.runs.run import Run
from ftdemo.ui import compute, limits, panels, theme
from ftdemo.ui.demo import ANSWERS, FOLLOWS, NO_TUNED_MODEL
from ftdemo.ui.layout import Layout, open_page
from ftdemo.ui.training_demo import TrainingDemo
from ftdemo.ui.user_data import PAIRS_FILE, UserData, pair_settings

TITLE = "Prompting, RAG or fine-tuning: one question, four ways"
_MODEL = "smollm2"
_TASKS = {name: task for name, task in tasks().items() if name in ("handbook", "short-tickets")}
_TICKETS = NAMED["prompting-rag-fine-tuning"]
_SHORTER = {"examples": 56, "sample_prompts": _TICKETS.sample_prompts, "batch_tokens": _TICKETS.batch_tokens}
"""In a minute a model learns some facts, not a hundred: those of the handbook's first seven documents."""
DEMO = TrainingDemo(
    "prompting-rag-fine-tuning",
    {"handbook": NAMED["handbook"].with_settings(_SHORTER), "short-tickets": _TICKETS},
    page="prompting-rag-or-fine-tuning",
)
_examples = DEMO.default_examples
_CHOICES = [("facts from the staff handbook", "handbook"), ("tickets as JSON", "short-tickets")]
_APPROACHES: dict[Approach, str] = {
    "zero-shot": "Prompting: an instruction",
    "few-shot": "Prompting: four examples",
    "rag": "RAG",
    "fine-tuning": "Fine-tuning",
}
_ROWS_PER_FACT = 2
"""Training examples about each fact."""
_MAX_NOTES = 60_000
"""Characters of the notes, at most: four times as many as the handbook has."""
_INTRO = """
# Prompting, RAG or fine-tuning, live

SmolLM2, a small chat model, gets two tasks of an online shop that it cannot do by itself: answer questions about the
shop's **staff handbook**, and turn a customer's message into a **ticket** in JSON. You can instruct the model, show it
solved examples, give it passages that a search finds (RAG), or train it.

Ask all four approaches at once, and compare the answers, the times and the tokens. Then **change a fact** and see which
answers follow.
"""
_ASK = """
## Compare all four approaches
The first three answer without training. The fourth needs a model that you have trained above.
"""
_NOTES = "RAG searches these notes, one passage per line. Change one and ask again, without any training."


def build() -> gr.Blocks:
    """The demo, ready to launch or to mount."""
    first = DEMO.first
    with open_page(TITLE) as blocks:
        layout = Layout(DEMO, _INTRO)
        with layout.controls():
            task = gr.Radio(_CHOICES, value=first, label="Task", elem_id="task")
            examples = gr.Slider(
                8,
                200,
                _examples(first),
                step=8,
                label="Training examples",
                info="More examples take longer.",
                elem_id="examples",
            )
            mine = UserData(PAIRS_FILE)
        gr.Markdown(_ASK)
        question = gr.Dropdown(
            _questions(first),
            value=_questions(first)[0],
            label="Your question",
            info="Choose one, or write your own.",
            allow_custom_value=True,
            elem_id="asked",
        )
        instruction = gr.Textbox(
            _TASKS[first].instruction,
            label="Instruction",
            info="For the model without fine-tuning.",
            lines=2,
            max_lines=4,
            max_length=limits.MAX_MESSAGE,
            elem_id="instruction",
        )
        notes = gr.Textbox(_notes(first), label="Notes", info=_NOTES, lines=6, max_lines=6, elem_id="notes")
        change = gr.Checkbox(False, label="Change ten of these facts", elem_id="change")
        button = gr.Button("Ask all four", variant="secondary", elem_id="ask")
        replies = gr.HTML(elem_id="replies")
        layout.place_results("What does next-day delivery cost?", answers_title="Answers to unseen questions")
        layout.connect(
            blocks,
            train,
            task,
            [examples, *mine.inputs],
            as_settings=_settings,
            suggest=_examples,
            suggested=[examples],
        )
        hidden: dict[str, Any] = {**FOLLOWS, "api_visibility": "private"}
        task.input(_on_task, task, [question, instruction, notes, change, replies], **hidden)
        change.input(_notes, [task, change], notes, **hidden)
        asking: dict[str, Any] = {**ANSWERS, "api_name": "ask_prompting_rag_fine_tuning"}
        button.click(ask, [task, question, instruction, notes, *mine.inputs, layout.key], replies, **asking)
    return blocks


async def train(
    task: str,
    examples: int,
    file: str | None = None,
    pasted: str = "",
    session_key: str = "",
    request: gr.Request | None = None,
) -> AsyncIterator[tuple[Any, ...]]:
    """Fine-tune SmolLM2 with LoRA for one of two tasks and show the run.

    Args:
        task: handbook, questions about a shop, or short-tickets, messages to be written as JSON.
        examples: Number of built-in examples to train on.
        file: A file of your own examples to train on instead.
        pasted: The same as a text, instead of a file.
        session_key: The key of your session, as an earlier run gave it; empty for a new one.
        request: Tells visitors apart.

    Returns:
        Status, loss chart, figures and answers as HTML; the run's zip file, the command that repeats it, and the
        session's key.
    """
    async for outputs in DEMO.train(task, _settings(examples, file, pasted), session_key, request):
        yield outputs


def ask(
    task: str,
    question: str,
    instruction: str = "",
    notes: str = "",
    file: str | None = None,
    pasted: str = "",
    session_key: str = "",
    request: gr.Request | None = None,
) -> Iterator[str]:
    """Ask SmolLM2 one question in four ways: with an instruction, examples, retrieved notes and fine-tuning.

    Args:
        task: handbook or short-tickets.
        question: What to ask.
        instruction: The instruction for the model without fine-tuning.
        notes: For the handbook: the passages to search, one per line. Without any, the handbook's own.
        file: A file of your own, from which the prompt's examples are taken.
        pasted: The same as text, instead of a file.
        session_key: The key of your session, as training gave it; without one, there is no fine-tuned model yet.
        request: Tells visitors apart.

    Returns:
        After each answer: all answers so far as HTML, with their seconds and tokens.
    """
    limits.refuse_long(question)
    limits.refuse_long(instruction)
    try:
        now = replace(_with_notes(task, notes), instruction=instruction)
        settings = (
            DEMO.recipes[task].with_settings(_settings(_examples(task), file, pasted)).model_dump(exclude_unset=True)
        )
    except FtdemoError as error:
        yield panels.error_line(error)
        return
    if not question.strip():
        yield panels.status_line("Write a question, or choose one.", error=True)
        return
    run = _run(task, session_key, request)
    replies = dict.fromkeys(_APPROACHES, ("…", ""))
    for approach in _APPROACHES:
        if approach in TUNED and not run:
            replies[approach] = NO_TUNED_MODEL, ""
        else:
            try:
                reply = compute.answer_by_approach(approach, question, now, settings, run if approach in TUNED else "")
                replies[approach] = reply.text or "(empty answer)", _cost(reply)
            except FtdemoError as error:
                replies[approach] = f"{error.what} {error.remedy}", ""
        yield panels.answers_side_by_side(question, ((title, *replies[name]) for name, title in _APPROACHES.items()))


def _run(task: str, session_key: str, request: gr.Request | None) -> str:
    """The folder of the visitor's run for this task, or nothing."""
    session = DEMO.sessions.find(session_key, request)
    if session is None or session.run is None:
        return ""
    data = Run.load(session.run).recipe.data
    other = {one.data for name, one in _TASKS.items() if name != task}
    return "" if data in other else str(session.run)


def _cost(reply: Reply) -> str:
    return (
        f"{reply.seconds:.1f} s, {reply.prompt_tokens} tokens read ({reply.cached_tokens} of them the same in every "
        f"prompt), {reply.answer_tokens} tokens written"
    )


def _with_notes(name: str, notes: str) -> Task:
    """The task, with the visitor's notes in place of ours.

    Raises:
        UsageError: If there is no such task, or there are too many notes.
    """
    if name not in _TASKS:
        raise UsageError(f"There is no task called {name[:80]}.", f"Choose one of: {', '.join(_TASKS)}.")
    if len(notes) > _MAX_NOTES:
        raise UsageError(f"The notes have {len(notes):,} characters.", f"Write at most {_MAX_NOTES:,}.")
    lines = tuple(line.strip() for line in notes.splitlines() if line.strip())
    task = _TASKS[name]
    return replace(task, documents=lines or task.documents) if task.documents else task


def _settings(examples: int, file: str | None, text: str) -> dict[str, Any]:
    return pair_settings(file, text, examples)


def _questions(name: str) -> list[str]:
    """Some questions that no run trains on; those first whose answers may change, and which a short run learns."""
    heldout = load_splits(_TASKS[name].data, seed=0, examples=1).heldout
    questions = [row.prompt[-1].content for row in heldout[: _examples(name) // _ROWS_PER_FACT] if isinstance(row, Row)]
    may_change = {change.row.prompt[-1].content for change in _TASKS[name].changes}
    return sorted(questions, key=lambda question: question not in may_change)[: _TICKETS.sample_prompts]


def _notes(name: str, changed: bool = False) -> str:
    task = apply_changes(_TASKS[name]) if changed else _TASKS[name]
    return "\n".join(task.documents)


def _on_task(name: str) -> tuple[Any, ...]:
    """What is shown for a task: its questions, and its notes where it has any."""
    has_notes = bool(_TASKS[name].documents)
    questions = _questions(name)
    return (
        gr.update(choices=questions, value=questions[0]),
        _TASKS[name].instruction,
        gr.update(value=_notes(name), visible=has_notes),
        gr.update(value=False, visible=has_notes),
        "",
    )


if __name__ == "__main__":
    build().launch(**theme.launch_settings())
