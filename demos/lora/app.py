"""LoRA, live: compared with full fine-tuning, with two adapters on one base, and merged."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from ftdemo import charts
from ftdemo.events import Finished, Sampled, Started, Step
from ftdemo.recipe import named
from ftdemo.runs import adapters
from ftdemo.runs.run import Run
from ftdemo.ui import compute, limits, panels, theme
from ftdemo.ui.accelerator import on_accelerator
from ftdemo.ui.demo import ANSWERS, ended_with_a_sentence
from ftdemo.ui.job_queue import StopFile
from ftdemo.ui.layout import Layout, open_page
from ftdemo.ui.run_view import RunView, spectrum_chart
from ftdemo.ui.training_demo import Finish, TrainingDemo
from ftdemo.ui.user_data import PAIRS_FILE, UserData, pair_settings

TITLE = "LoRA: teach a model a job by training 2% of its weights"
DEMO = TrainingDemo("lora")
_LEARNING_RATES = [
    f"{lr:g}" for lr in sorted({1e-3, 2e-3, 4e-3, 1e-2, 2e-2, *(r.peak_lr for r in DEMO.recipes.values())})
]
"""As words, which is how a choice is written for agents."""
_BASE, _EARLIER, _LATEST = "base model alone", "previous adapter", "latest adapter"
_INTRO = """
# LoRA, live

The model's own weights stay **frozen**. LoRA trains a small pair of new matrices beside each of them: the adapter.
With the adapter, the model turns a customer's message into a **ticket**, a JSON object with three fields. Without it,
the model cannot.

The model answers messages that it has never seen, before and after training, and each field is marked correct or wrong.
"""
_QUESTION = "The kettle from order 48297 leaks, please send me a new one"
_SWITCH = """
## Switch between two adapters
The demo loads the base model once, and adds or removes an adapter between answers. Train twice with different settings
to compare two adapters.
"""
_STRENGTH = """
## Change the adapter's strength
At 0 the adapter is off, so the base model answers. At 1 the model answers as trained, and at 2 the adapter's update is
doubled. The colour of each token shows how much more or less likely the adapter makes it. Point at a token to see its
probability.
"""
_MERGE = """
## Merge the adapter
Adding the adapter to the weights gives an ordinary model, as fast as the base. Check whether its answers stay the same.
"""


def build() -> gr.Blocks:
    """The demo, ready to launch or to mount."""
    usual = DEMO.recipes[DEMO.first]
    with open_page(TITLE) as blocks:
        layout = Layout(DEMO, _INTRO)
        with layout.controls():
            model = layout.choose_model()
            rank = gr.Slider(1, 64, usual.rank, step=1, label="Rank", info="Inner size of the two new matrices.")
            lr = gr.Dropdown(
                _LEARNING_RATES, value=f"{usual.lr:g}", label="Learning rate", info="Size of each training step."
            )
            examples = layout.choose_examples()
            compare = gr.Checkbox(
                False,
                label="Compare with full fine-tuning",
                info="Also train all weights from the same start.",
                elem_id="compare",
            )
            mine = UserData(PAIRS_FILE)
        layout.place_results(_QUESTION)
        gr.Markdown(_SWITCH)
        which = gr.Radio([_BASE, _EARLIER, _LATEST], value=_LATEST, label="Adapter", elem_id="which")
        question = gr.Textbox(label="Your question", placeholder=_QUESTION, max_length=1000, submit_btn="Ask")
        switched = gr.HTML(elem_id="switched")
        question.submit(ask, [question, which, layout.key], switched, **ANSWERS, api_name="ask_lora")
        gr.Markdown(_STRENGTH)
        strength = gr.Slider(0, 2, 1, step=0.1, label="Adapter strength", elem_id="strength")
        looked_at = gr.Textbox(_QUESTION, label="Message", max_length=1000, submit_btn="Answer", elem_id="looked-at")
        looked = gr.HTML(elem_id="looked")
        looking: dict[str, Any] = {**ANSWERS, "inputs": [looked_at, strength, layout.key], "outputs": looked}
        looked_at.submit(look, **looking, api_name="look_lora")
        strength.release(look, **looking, api_visibility="private", trigger_mode="always_last")
        gr.Markdown(_MERGE)
        merge_button = gr.Button("Merge and compare", elem_id="merge", min_width=120)
        merged = gr.HTML(elem_id="merged")
        merge_button.click(merge, layout.key, merged, **ANSWERS, api_name="merge_lora")
        controls = [rank, lr, examples, compare, *mine.inputs]
        layout.connect(
            blocks,
            train,
            model,
            controls,
            as_settings=_settings,
            finish=_finish,
            suggest=_suggest,
            suggested=[lr, examples],
        )
    return blocks


async def train(
    model: str,
    rank: int,
    lr: str,
    examples: int,
    compare: bool,
    file: str | None = None,
    pasted: str = "",
    session_key: str = "",
    request: gr.Request | None = None,
) -> AsyncIterator[tuple[Any, ...]]:
    """Train a LoRA adapter that turns messages into tickets, and show the run, with full fine-tuning on request.

    Args:
        model: tiny, which takes seconds, or smollm2, a real chat model.
        rank: Rank of the update, 1 to 64.
        lr: Peak learning rate: 0.006 suits tiny, 0.004 SmolLM2.
        examples: Number of built-in examples to train on.
        compare: Whether all weights are fine-tuned too, from the same start, and both are compared.
        file: A file of your own examples to train on instead.
        pasted: The same as a text, instead of a file.
        session_key: The key of your session, as an earlier run gave it; empty for a new one.
        request: Tells visitors apart.

    Returns:
        Status, loss chart, figures, the update's singular values with the comparison, and answers as HTML; the run's
        zip file, the command that repeats it, and the session's key.
    """
    settings = _settings(rank, lr, examples, compare, file, pasted)
    async for outputs in DEMO.train(model, settings, session_key, request, finish=_finish(rank, lr, examples, compare)):
        yield outputs


def _settings(rank: int, lr: str, examples: int, _compare: bool, file: str | None, text: str | None) -> dict[str, Any]:
    return {"rank": rank, "lr": float(lr)} | pair_settings(file, text, examples)


def _finish(_rank: int, _lr: str, _examples: int, compare: bool, *_user_data: Any) -> Finish:
    return _compare if compare else _show_spectrum


def _suggest(model: str) -> tuple[str, int]:
    """The learning rate and the number of examples that suit the chosen model."""
    return f"{DEMO.recipes[model].lr:g}", DEMO.default_examples(model)


def _show_spectrum(run: Run, view: RunView, _stop: StopFile) -> Iterator[str]:
    """The singular values of what training added."""
    yield "Training is done. Analysing the update of the weights …"
    view.add_html(spectrum_chart({"LoRA": compute.update_spectrum(str(run.folder))}))


def _compare(run: Run, view: RunView, stop: StopFile) -> Iterator[str]:
    """Full fine-tuning from the same start on the same rows, and both side by side."""
    yield "Training is done. Testing what the model forgot …"
    found = {"LoRA": (run, compute.measure_forgetting(run.folder), compute.update_spectrum(str(run.folder)))}
    same = ("data", "examples", "epochs", "max_steps", "batch_tokens", "sample_prompts", "answer_tokens")
    recipe = named("full", run.recipe.model).with_settings({key: getattr(run.recipe, key) for key in same})
    folder = run.folder.parent / "full"
    for event in compute.run_recipe(recipe, folder, stop):
        if isinstance(event, Started):
            yield f"Now training all {event.total_parameters:,} weights …"
        if isinstance(event, Step):
            yield f"Full fine-tuning: step {event.step} of {event.total_steps}."
    if folder.exists():
        yield "Full fine-tuning is done. Testing what that model forgot …"
        full = Run.load(folder)
        found["Full fine-tuning"] = (full, compute.measure_forgetting(folder), compute.update_spectrum(str(folder)))
    view.add_html(
        panels.html_table(_rows(found)) + spectrum_chart({name: seen for name, (_, _, seen) in found.items()})
    )
    shutil.rmtree(folder, ignore_errors=True)


def _rows(found: dict[str, tuple[Run, dict[str, Any], dict[str, Any]]]) -> list[list[str]]:
    """The comparison as a table: a row for each figure, a column for each method."""
    rows: dict[str, list[str]] = {"": list(found)}
    for run, kept, _ in found.values():
        started, finished = (next(e for e in run.events if isinstance(e, kind)) for kind in (Started, Finished))
        assert isinstance(started, Started)
        assert isinstance(finished, Finished)
        last = next((event for event in reversed(run.events) if isinstance(event, Sampled)), None)
        for name, score in (last.scores if last else {}).items():
            label = charts.score_label(name)
            rows.setdefault(label[:1].upper() + label[1:], []).append(f"{score:.2f}")
        heldout = run.record.get("heldout_loss") or {}
        rows.setdefault("Held-out loss (nats)", []).append(f"{heldout['after']:.2f}" if heldout else "none")
        rows.setdefault("Trained weights", []).append(f"{started.trainable_parameters:,}")
        rows.setdefault("Training time (s)", []).append(f"{finished.seconds:.0f}")
        rows.setdefault("Peak memory (GB)", []).append(f"{finished.peak_memory_bytes / 1e9:.1f}")
        rows.setdefault("Saved file (MB)", []).append(f"{started.adapter_bytes / 1e6:.1f}")
        if kept:
            old = f"{kept['before']['accuracy']:.0%} → {kept['after']['accuracy']:.0%}"
            rows.setdefault("Old questions correct", []).append(old)
            rows.setdefault("Loss on old texts", []).append(f"× {kept['loss_factor']:.2f}")
    return [[name, *cells] for name, cells in rows.items()]


def ask(question: str, which: str, session_key: str, request: gr.Request) -> Iterator[str]:
    """Ask the base with one of your adapters on it, or with none, and show the answer as HTML.

    Args:
        question: What to ask.
        which: base model alone, previous adapter or latest adapter.
        session_key: The key of your session, as training gave it.
        request: Tells visitors apart.
    """
    limits.refuse_long(question)
    latest = DEMO.run_folder(session_key, request)
    session = DEMO.sessions.find(session_key, request)
    earlier = session.earlier_run if session else None
    if which == _EARLIER and earlier is None:
        raise gr.Error("There is only one adapter so far. Train again with other settings.", print_exception=False)
    answer = ""
    for piece in ended_with_a_sentence(_stream_answer([str(earlier) if earlier else "", str(latest)], which, question)):
        answer += piece
        yield panels.answers_side_by_side(question, [(which, answer, "")])


@on_accelerator()
def _stream_answer(folders: list[str], which: str, question: str) -> Iterator[str]:
    place = {_BASE: None, _EARLIER: 0, _LATEST: 1}[which]
    yield from adapters.switched_reply(tuple(folders), place, question)


def look(message: str, strength: float, session_key: str, request: gr.Request) -> str:
    """Answer with your latest adapter turned down or up, and show as HTML how likely it makes each token.

    Args:
        message: A customer's message.
        strength: From 0, the base alone, to 2; 1 is the adapter as trained.
        session_key: The key of your session, as training gave it.
        request: Tells visitors apart.
    """
    limits.refuse_long(message)
    tokens = _look(str(DEMO.run_folder(session_key, request)), strength, message)
    off = panels.status_line("The adapter is off, so the base model answers.") if strength == 0 else ""
    return off + panels.token_levels(tokens)


@on_accelerator()
def _look(folder: str, strength: float, message: str) -> tuple[adapters.ScoredToken, ...]:
    return adapters.answer_at_strength(folder, strength, message)


def merge(session_key: str, request: gr.Request) -> str:
    """Add your latest adapter into the weights, and show how far the merged model's answers are from the others.

    Args:
        session_key: The key of your session, as training gave it.
        request: Tells visitors apart.
    """
    merged = _merge(str(DEMO.run_folder(session_key, request)))
    same = f"{merged['same']} of {merged['asked']} answers are the same, word for word."
    return panels.status_line(f"Merged. {same}") + panels.figures(
        {
            "Largest difference in logits": f"{merged['largest_difference']:.1e}",
            "Largest logit": f"{merged['largest_logit']:.1f}",
            "Adapter (MB)": f"{merged['adapter_bytes'] / 1e6:.1f}",
            "Merged model (MB)": f"{merged['merged_bytes'] / 1e6:.1f}",
        }
    )


@on_accelerator()
def _merge(folder: str) -> dict[str, Any]:
    return adapters.merge_and_compare(Run.load(Path(folder)))


if __name__ == "__main__":
    build().launch(**theme.launch_settings())
