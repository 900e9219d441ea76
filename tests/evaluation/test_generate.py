from __future__ import annotations

import copy
from collections.abc import Generator
from threading import Event, Thread
from typing import Any

import pytest
import torch
from peft.tuners.lora import dora

from ftdemo.data import BUILT_IN, Row, Text, Turn, read_rows
from ftdemo.data.tokenize import render
from ftdemo.errors import DataError, FtdemoError, ModelError, UsageError
from ftdemo.evaluation import generate
from ftdemo.evaluation.evaluate import answer_and_score
from ftdemo.evaluation.generate import answer_rows, stream_continuation, stream_reply
from ftdemo.models.load import Source, load_causal_lm, load_ready
from ftdemo.recipe import Recipe
from ftdemo.runs.run import Run
from ftdemo.training.loop import train
from ftdemo.training.prepare import prepare


@pytest.fixture(scope="module")
def tiny() -> tuple[Any, Any]:
    """The bundled model, which answers these prompts with sentences of different lengths, and its tokenizer."""
    return load_ready("tiny")


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return [row for row in read_rows(BUILT_IN["replies"].heldout)[:3] if isinstance(row, Row)]


def test_answers_in_a_batch_are_those_given_alone(tiny: tuple[Any, Any], rows: list[Row]) -> None:
    together = answer_rows(*tiny, rows, max_new_tokens=12)
    alone = [answer_rows(*tiny, [row], max_new_tokens=12)[0] for row in rows]
    assert list(together) == alone
    assert len({answer.text for answer in alone}) == len(rows)


def test_a_streamed_reply_is_the_answer_in_pieces(tiny: tuple[Any, Any], rows: list[Row]) -> None:
    pieces = list(stream_reply(*tiny, rows[0].prompt, max_new_tokens=12))
    assert len(pieces) > 1
    assert "".join(pieces) == answer_rows(*tiny, rows[:1], max_new_tokens=12)[0].text


def test_a_prompt_that_fills_the_context_is_refused_in_a_chat_and_not_answered_in_an_evaluation(
    tiny: tuple[Any, Any], rows: list[Row]
) -> None:
    model, tokenizer = tiny
    window = model.config.max_position_embeddings
    turns = (Turn("user", "far " * window), Turn("assistant", "Aye."))
    with pytest.raises(UsageError, match=rf"The prompt has [\d,]+ tokens, but the model reads at most {window:,}"):
        next(stream_reply(model, tokenizer, turns[:1]))
    (alone,) = answer_rows(model, tokenizer, [rows[0]], max_new_tokens=12)
    for mixed in ([Row(1, turns), rows[0]], [rows[0], Row(1, turns)], [Row(1, turns)]):
        answers = answer_rows(model, tokenizer, mixed, max_new_tokens=12)
        assert [answer for answer in answers if answer.text] == [alone] * (len(mixed) - 1)
        assert not any(answer.stopped for answer in answers if not answer.text)


def test_an_answer_ends_where_the_context_does(tiny: tuple[Any, Any], rows: list[Row]) -> None:
    model, tokenizer = tiny
    model = copy.copy(model)
    asked = len(tokenizer(render(rows[0].prompt, tokenizer, to_be_answered=True), add_special_tokens=False).input_ids)
    model.config = copy.copy(model.config)
    model.config.max_position_embeddings = asked + 3
    assert answer_rows(model, tokenizer, rows[:1], max_new_tokens=12) == answer_rows(*tiny, rows[:1], max_new_tokens=3)


def test_a_stream_whose_generation_fails_ends_with_the_reason(
    tiny: tuple[Any, Any], rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = tiny
    forward, calls = model.forward, list[int]()

    def fail_at_the_fourth_token(*inputs: Any, **settings: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise RuntimeError("out of memory\nand a long tail")
        return forward(*inputs, **settings)

    monkeypatch.setattr(model, "forward", fail_at_the_fourth_token)
    with pytest.raises(ModelError) as failure:
        list(stream_reply(model, tokenizer, rows[0].prompt, max_new_tokens=40))
    assert failure.value.what == "The model could not finish its answer: out of memory."
    assert "shorter message" in failure.value.remedy
    assert len(calls) == 4


@pytest.mark.parametrize("error", [MemoryError(), SystemExit(3), DataError("This row.", "Change it.")])
def test_whatever_ends_the_thread_that_generates_ends_the_stream(
    error: BaseException, tiny: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(tiny[0], "generate", fail)
    with pytest.raises(FtdemoError, match=r"This row\.|MemoryError|3"):
        list(stream_continuation(*tiny, "One windy Tuesday"))


def test_a_stream_that_is_closed_ends_the_generation(
    tiny: tuple[Any, Any], rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = tiny
    forward, calls = model.forward, list[int]()

    def counted(*inputs: Any, **settings: Any) -> Any:
        calls.append(1)
        return forward(*inputs, **settings)

    monkeypatch.setattr(model, "forward", counted)
    settings = generate._greedy(model, tokenizer, 10**6) | {"eos_token_id": None}  # it would write for hours
    monkeypatch.setattr(generate, "_greedy", lambda *_: settings)
    pieces = stream_reply(model, tokenizer, rows[0].prompt)
    next(pieces)
    assert isinstance(pieces, Generator)
    pieces.close()
    ended = len(calls)
    answer_rows(model, tokenizer, rows[:1], until=lambda: True)
    assert len(calls) == ended + 1


def test_an_answer_says_whether_the_model_stopped_by_itself(smollm2: Source, tokenizer: Any) -> None:
    model = load_causal_lm(smollm2, torch.float32)
    row = Row(1, (Turn("user", "Say yes. Only that one word."), Turn("assistant", "Yes.")))
    (cut,) = answer_rows(model, tokenizer, [row], max_new_tokens=1)
    (whole,) = answer_rows(model, tokenizer, [row], max_new_tokens=80)
    assert not cut.stopped
    assert whole.stopped
    assert (cut.prompt, cut.reference) == ("Say yes. Only that one word.", "Yes.")


def test_the_base_model_does_not_know_the_format(tiny: tuple[Any, Any]) -> None:
    tickets = [row for row in read_rows(BUILT_IN["tickets"].heldout)[:3] if isinstance(row, Row)]
    sampled = answer_and_score(*tiny, tickets, data="tickets")
    assert sampled.scores["valid_json"] == sampled.scores["all_fields"] == 0
    assert sampled.step == 0


def test_a_running_text_is_continued_from_its_first_words(chat_run: Run) -> None:
    tiny, its_tokenizer = chat_run.load_model()
    text = Text(1, "One two three four five six seven eight nine ten eleven twelve thirteen fourteen.")
    (answer,) = answer_rows(tiny, its_tokenizer, [text], max_new_tokens=4)
    assert answer.prompt == "One two three four five six seven eight nine ten eleven twelve"
    assert answer.reference == " thirteen fourteen."
    assert answer.text


def test_the_last_assistant_turn_of_a_conversation_is_answered(chat_run: Run) -> None:
    tiny, its_tokenizer = chat_run.load_model()
    turns = (Turn("user", "One?"), Turn("assistant", "Two."), Turn("user", "Three?"), Turn("assistant", "Four."))
    (answer,) = answer_rows(tiny, its_tokenizer, [Row(1, turns)], max_new_tokens=4)
    (alone,) = answer_rows(tiny, its_tokenizer, [Row(1, turns[2:])], max_new_tokens=4)
    assert (answer.prompt, answer.reference) == ("Three?", "Four.")
    assert (alone.prompt, alone.reference) == ("Three?", "Four.")


def test_more_rows_than_fit_a_batch_are_all_answered_in_their_order(chat_run: Run) -> None:
    tiny, its_tokenizer = chat_run.load_model()
    rows = [Row(n, (Turn("user", f"Order {n}?"), Turn("assistant", f"{n}."))) for n in range(1, 41)]
    answers = answer_rows(tiny, its_tokenizer, rows, max_new_tokens=2)
    assert [answer.reference for answer in answers] == [f"{n}." for n in range(1, 41)]
    assert answers[35:36] == answer_rows(tiny, its_tokenizer, rows[35:36], max_new_tokens=2)


def test_of_two_who_answer_at_once_the_last_to_leave_switches_dora_s_cache_off(tiny: tuple[Any, Any]) -> None:
    came, may_leave = [Event(), Event()], [Event(), Event()]

    def answer(who: int) -> None:
        with generate._inference(tiny[0]):
            came[who].set()
            may_leave[who].wait(10)

    threads = [Thread(target=answer, args=(who,)) for who in (0, 1)]
    for thread, arrived in zip(threads, came, strict=True):
        thread.start()
        assert arrived.wait(10)
    seen = []
    for thread, leave in zip(threads, may_leave, strict=True):
        seen.append(dora.ENABLE_DORA_CACHING)
        leave.set()
        thread.join()
    assert [*seen, dora.ENABLE_DORA_CACHING] == [True, True, False]


def test_dora_measures_its_weights_once_for_all_tokens_and_anew_once_they_have_moved(
    chat_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [Row(1, (Turn("user", "Where is my lamp?"), Turn("assistant", "Here.")))]
    recipe = Recipe(method="dora", model=str(chat_run.folder), examples=4, dtype="float32", lr=0.1, max_steps=1)
    learner = prepare(recipe)
    norm, measured = torch.linalg.norm, list[int]()

    def noted(*args: Any, **settings: Any) -> Any:
        measured.append(1)
        return norm(*args, **settings)

    monkeypatch.setattr(torch.linalg, "norm", noted)
    before = answer_rows(learner.model, learner.tokenizer, rows, max_new_tokens=6)
    adapted = sum(name.endswith("lora_magnitude_vector") for name, _ in learner.model.named_modules())
    assert len(measured) == adapted
    for _ in train(recipe, learner):
        pass
    measured.clear()
    assert answer_rows(learner.model, learner.tokenizer, rows, max_new_tokens=6) != before
    assert len(measured) == adapted


def test_the_head_is_never_copied_for_each_prompt(tiny: tuple[Any, Any], rows: list[Row]) -> None:
    seen: list[bool] = []
    head = tiny[0].get_output_embeddings()
    hook = head.register_forward_hook(lambda _head, inputs, _output: seen.append(inputs[0].is_contiguous()))
    try:
        answer_rows(*tiny, rows, max_new_tokens=2)
    finally:
        hook.remove()
    assert seen == [True, True]  # without the copy that closes the gaps the first one would be a slice with gaps
    assert not head._forward_pre_hooks


def test_generation_stops_at_each_token_that_the_model_names_as_a_stop(chat_run: Run) -> None:
    model, its_tokenizer = chat_run.load_model()
    row = Row(1, (Turn("user", "Where is my rope?"), Turn("assistant", "Here.")))
    (whole,) = answer_rows(model, its_tokenizer, [row], max_new_tokens=20)
    first = its_tokenizer(whole.text, add_special_tokens=False)["input_ids"][0]
    model.generation_config.eos_token_id = [its_tokenizer.eos_token_id, first]
    (cut,) = answer_rows(model, its_tokenizer, [row], max_new_tokens=20)
    assert cut.stopped
    assert cut.text == its_tokenizer.decode([first])
