from __future__ import annotations

import copy
import itertools
import tracemalloc
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from awkward import GEMMA

from ftdemo.data import BUILT_IN, Labelled, Row, Text, Turn, stream_rows
from ftdemo.data.batches import collate
from ftdemo.data.sets import high_street
from ftdemo.data.tokenize import (
    Example,
    Examples,
    TemplateRefusalError,
    encode,
    encode_all,
    encode_labelled,
    encode_text,
    render,
    unread_keys,
)
from ftdemo.errors import DataError, ModelError
from ftdemo.models import load as models
from ftdemo.models import new

SYSTEM = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
LETTER = Row(1, (Turn("user", "Is it open?"), Turn("assistant", "Aye. Until five.")))
TALK = Row(
    2,
    (
        Turn("system", "Be brief."),
        Turn("user", "One?"),
        Turn("assistant", "Two."),
        Turn("user", "Three?"),
        Turn("assistant", "Four.\n\nFive: 12 ½ kg"),
    ),
)
STORY = Text(3, "The boats came in at four. 🚢\n\nNobody waved; the fog was thick, and the bell rang twelve times.")


@pytest.fixture(scope="module")
def own_tokenizer() -> Any:
    """A tokenizer of a new model, which begins each text with a token of its own. SmolLM2's does not."""
    return new.train_tokenizer(itertools.islice(high_street.documents(0), 200), 512)


@pytest.fixture(scope="module")
def minilm_tokenizer() -> Any:
    return models.load_tokenizer(models.resolve("minilm"))


def trained_tokens(example: Example) -> list[int]:
    return [token for token, trained in zip(example.input_ids, example.completion_mask, strict=True) if trained]


def trained_text(row: Row, tokenizer: Any) -> str:
    """The row's text with what is trained in square brackets."""
    example = encode(row, tokenizer, train_on="completion", max_length=512)
    text = ""
    for trained, run in itertools.groupby(
        zip(example.input_ids, example.completion_mask, strict=True), lambda pair: pair[1]
    ):
        part = tokenizer.decode([token for token, _ in run])
        text += f"[{part}]" if trained else part
    return text


# Conversations


def test_without_its_stop_token_the_mask_covers_exactly_the_completion(tokenizer: Any) -> None:
    with_stop = encode(LETTER, tokenizer, train_on="completion", max_length=512)
    without = encode(LETTER, tokenizer, train_on="completion", max_length=512, train_stop=False)
    assert with_stop.input_ids == without.input_ids
    assert trained_tokens(with_stop) == [*trained_tokens(without), tokenizer.eos_token_id]
    whole = encode(LETTER, tokenizer, train_on="all", max_length=512, train_stop=False)
    assert tokenizer.eos_token_id not in trained_tokens(whole)


def test_the_mask_covers_exactly_the_completion_and_its_stop_token(tokenizer: Any) -> None:
    assert trained_text(LETTER, tokenizer) == (
        SYSTEM + "<|im_start|>user\nIs it open?<|im_end|>\n<|im_start|>assistant\n[Aye. Until five.<|im_end|>]\n"
    )


def test_every_assistant_turn_is_trained_with_its_own_stop_token(tokenizer: Any) -> None:
    assert trained_text(TALK, tokenizer) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\n[Two.<|im_end|>]\n"
        "<|im_start|>user\nThree?<|im_end|>\n<|im_start|>assistant\n[Four.\n\nFive: 12 ½ kg<|im_end|>]\n"
    )


def test_words_that_stand_in_the_prompt_too_are_trained_only_in_the_answer(tokenizer: Any) -> None:
    echo = Row(3, (Turn("user", "Say aye."), Turn("assistant", "Say aye.")))
    assert trained_text(echo, tokenizer).count("Say aye.") == 2
    assert trained_text(echo, tokenizer).endswith("<|im_start|>assistant\n[Say aye.<|im_end|>]\n")


@pytest.mark.parametrize("answer", [" \n indented", " a space", "\na line", "🚢 ahoy", "12", "a\n", "a\n\n", "a  "])
def test_an_answer_is_trained_from_its_first_character_to_its_last(answer: str, tokenizer: Any) -> None:
    row = Row(4, (Turn("user", "Hm?"), Turn("assistant", answer)))
    example = encode(row, tokenizer, train_on="completion", max_length=512)
    assert tokenizer.decode(trained_tokens(example)) == f"{answer}<|im_end|>"


def test_a_token_that_begins_before_the_answer_is_never_trained(tokenizer: Any) -> None:
    row = Row(5, (Turn("user", "Hm?"), Turn("assistant", "    four spaces")))
    example = encode(row, tokenizer, train_on="completion", max_length=512)
    # The template's line end and the first three spaces are one token. Whoever asks for an answer gives the line end.
    assert tokenizer.decode(trained_tokens(example)) == " four spaces<|im_end|>"


def test_the_stop_token_is_trained_although_it_is_also_the_padding_token(tokenizer: Any) -> None:
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    short = encode(LETTER, tokenizer, train_on="completion", max_length=512)
    long = encode(TALK, tokenizer, train_on="completion", max_length=512)
    batch = collate([short, long], tokenizer.pad_token_id)
    assert (batch.targets == tokenizer.eos_token_id).sum() == 3  # one turn in the first row, two in the second
    assert not batch.loss_positions[batch.attention_mask == 0].any()


@pytest.mark.parametrize("row", [LETTER, TALK])
def test_train_on_all_trains_every_token_but_the_first(row: Row, tokenizer: Any) -> None:
    example = encode(row, tokenizer, train_on="all", max_length=512)
    assert example.completion_mask == (False, *(True,) * (len(example) - 1))


def test_what_is_trained_does_not_change_what_is_read(tokenizer: Any) -> None:
    answers, everything = (encode(TALK, tokenizer, train_on=part, max_length=512) for part in ("completion", "all"))
    assert answers.input_ids == everything.input_ids
    assert tokenizer.decode(answers.input_ids) == render(TALK.turns, tokenizer)


def test_an_example_knows_its_row(tokenizer: Any) -> None:
    assert encode(TALK, tokenizer, train_on="completion", max_length=512).row == TALK.number


@pytest.mark.parametrize("role", ["system", "user", "assistant"])
def test_control_tokens_in_the_text_are_refused(role: str, tokenizer: Any) -> None:
    turns = {"system": "Be brief.", "user": "a", "assistant": "c", role: "a<|im_end|>b"}
    row = Row(7, tuple(Turn(role, content) for role, content in turns.items()))  # type: ignore[arg-type]
    with pytest.raises(DataError, match=rf"Example 7: the {role} turn contains <\|im_end\|>"):
        encode(row, tokenizer, train_on="completion", max_length=512)


def test_truncation_is_marked_and_can_leave_nothing_to_train(tokenizer: Any) -> None:
    example = encode(LETTER, tokenizer, train_on="completion", max_length=16)
    assert example.truncated
    assert len(example) == 16
    assert example.trained_tokens == 0


def test_a_row_as_long_as_allowed_is_not_truncated(tokenizer: Any) -> None:
    length = len(encode(LETTER, tokenizer, train_on="completion", max_length=512))
    assert not encode(LETTER, tokenizer, train_on="completion", max_length=length).truncated
    assert encode(LETTER, tokenizer, train_on="completion", max_length=length - 1).truncated


def test_a_template_without_a_stop_token_is_refused(tokenizer: Any) -> None:
    endless = copy.deepcopy(tokenizer)
    endless.chat_template = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    with pytest.raises(ModelError, match="does not end an assistant turn with the stop token"):
        encode(LETTER, endless, train_on="completion", max_length=512)


def test_a_template_that_forgets_what_was_said_before_is_refused(tokenizer: Any) -> None:
    forgetful = copy.deepcopy(tokenizer)
    forgetful.chat_template = (
        "{% for m in messages[-2:] %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    with pytest.raises(ModelError, match="or changes what was said before"):
        encode(TALK, forgetful, train_on="completion", max_length=512)


@pytest.mark.parametrize("train_on", ["completion", "all"])
@pytest.mark.parametrize("untrained", range(5))
def test_a_turn_that_is_context_alone_has_no_loss(untrained: int, train_on: str, tokenizer: Any) -> None:
    turns = [replace(turn, train=place != untrained) for place, turn in enumerate(TALK.turns)]
    every = encode(TALK, tokenizer, train_on=train_on, max_length=512)
    most = encode(replace(TALK, turns=tuple(turns)), tokenizer, train_on=train_on, max_length=512)
    assert most.input_ids == every.input_ids
    without = [(token, trained) for token, trained in zip(every.input_ids, every.completion_mask, strict=True)]
    lost = [pair[0] for pair, kept in zip(without, most.completion_mask, strict=True) if pair[1] and not kept]
    assert not any(kept and not trained for kept, (_, trained) in zip(most.completion_mask, without, strict=True))
    if train_on == "completion" and TALK.turns[untrained].role != "assistant":
        assert not lost
    else:
        assert TALK.turns[untrained].content in tokenizer.decode(lost)
        assert not any(turn.content in tokenizer.decode(lost) for turn in turns if turn.train)


def test_what_the_assistant_says_first_is_read_and_not_trained(tokenizer: Any) -> None:
    turns = (Turn("assistant", "Ahoy.", train=False), *LETTER.turns)
    for system in ((), (Turn("system", "Be brief."),)):
        text = trained_text(Row(1, (*system, *turns)), tokenizer)
        assert "assistant\nAhoy.<|im_end|>\n<|im_start|>user\n" in text
        assert text.endswith("assistant\n[Aye. Until five.<|im_end|>]\n")


CALL = {"function": {"name": "find", "arguments": {"what": "lamp"}}}
WITH_TOOLS = Row(
    4,
    (
        Turn("user", "Where is my lamp?"),
        Turn("assistant", "", extra=(("tool_calls", [CALL]), ("reasoning_content", "I look."))),
        Turn("tool", "on the quay", extra=(("tool_call_id", "1"),)),
        Turn("assistant", "On the quay."),
    ),
    extra=(("tools", [{"function": {"name": "find"}}]), ("images", ["lamp.png"])),
)


@pytest.fixture
def calling(tokenizer: Any) -> Any:
    """A tokenizer whose template renders tools and calls, but no reasoning."""
    found = copy.deepcopy(tokenizer)
    found.chat_template = (
        "{% if tools %}{{ '<|im_start|>system\n' + tools | tojson + '<|im_end|>\n' }}{% endif %}{% for m in messages %}"
        "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] }}{% if m.tool_calls %}{{ m.tool_calls | tojson }}"
        "{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    return found


def test_tools_and_calls_are_read_and_trained_where_the_template_renders_them(calling: Any) -> None:
    text = trained_text(WITH_TOOLS, calling)
    assert text.startswith('<|im_start|>system\n[{"function": {"name": "find"}}]<|im_end|>\n')
    assert '<|im_start|>assistant\n[[{"function": {' in text
    assert "<|im_start|>tool\non the quay<|im_end|>\n<|im_start|>assistant\n[On the quay.<|im_end|>]\n" in text
    assert unread_keys(WITH_TOOLS, calling) == ["images", "reasoning_content"]
    assert list(encode_all([WITH_TOOLS, WITH_TOOLS], calling).notes_on_keys()) == [
        "The model does not read `images`, which 2 examples have.",
        "The model does not read `reasoning_content`, which 2 examples have.",
    ]


def test_a_turn_of_calls_alone_is_refused_where_the_template_leaves_them_out(tokenizer: Any) -> None:
    assert unread_keys(WITH_TOOLS, tokenizer) == ["images", "tools", "tool_calls", "reasoning_content"]
    with pytest.raises(DataError, match=r"Example 4: an assistant turn has only `tool_calls`, which"):
        encode(WITH_TOOLS, tokenizer, train_on="completion", max_length=512)


ALTERNATING = (
    "{% set turns = namespace(count=0) %}{% for m in messages %}"
    "{% if m['role'] == 'user' or (m['role'] == 'assistant' and m.tool_calls is not defined) %}"
    "{% if (m['role'] == 'user') != (turns.count % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}"
    "{% set turns.count = turns.count + 1 %}{% endif %}{% endfor %}"
)
"""Counts as Mistral's templates do: a turn with tool calls is not one of those that alternate."""


def test_a_key_without_which_the_template_refuses_the_conversation_is_read(calling: Any) -> None:
    strict = with_template(calling, ALTERNATING + calling.chat_template)
    assert unread_keys(WITH_TOOLS, strict) == ["images", "reasoning_content"]
    encode(WITH_TOOLS, strict, train_on="completion", max_length=512)


def test_control_tokens_in_a_call_are_refused(calling: Any) -> None:
    row = replace(LETTER, extra=(("tools", [{"function": {"name": "<|im_end|>"}}]),))
    with pytest.raises(DataError, match=r"Example 1: `tools` contains <\|im_end\|>"):
        encode(row, calling, train_on="completion", max_length=512)


def test_a_tokenizer_without_a_template_is_refused(tokenizer: Any) -> None:
    bare = copy.deepcopy(tokenizer)
    bare.chat_template = None
    with pytest.raises(ModelError, match="no chat template"):
        render(LETTER.turns, bare)


def with_template(tokenizer: Any, template: str) -> Any:
    changed = copy.deepcopy(tokenizer)
    changed.chat_template = template
    return changed


SYSTEMLESS = GEMMA.replace("{{ raise_exception('System role not supported') }}", "{% set messages = messages[1:] %}")
"""Leaves the system turn out, and says nothing."""


@pytest.mark.parametrize("template", [GEMMA, SYSTEMLESS], ids=["refused", "left out"])
def test_a_system_turn_that_a_template_does_not_take_begins_the_first_user_turn(template: str, tokenizer: Any) -> None:
    expected = (
        "<|im_start|>user\nBe brief.\n\nOne?<|im_end|>\n<|im_start|>model\n[Two.<|im_end|>]\n"
        "<|im_start|>user\nThree?<|im_end|>\n<|im_start|>model\n[Four.\n\nFive: 12 ½ kg<|im_end|>]\n"
    )
    assert trained_text(TALK, with_template(tokenizer, template)) == expected


def test_a_conversation_that_a_template_refuses_is_named_with_the_templates_reason(tokenizer: Any) -> None:
    twice = Row(8, (Turn("user", "One?"), Turn("user", "Two?"), Turn("assistant", "Three.")))
    with pytest.raises(
        TemplateRefusalError, match=r"Example 8: the model's chat template does not take .* must alternate"
    ):
        encode(twice, with_template(tokenizer, GEMMA), train_on="completion", max_length=512)
    with pytest.raises(TemplateRefusalError, match=r"^The model's chat template does not take"):
        render(twice.turns, with_template(tokenizer, "{{ nothing.at.all }}"))


@pytest.mark.parametrize("row", [LETTER, STORY])
def test_a_tokenizer_without_a_stop_token_is_refused(row: Row | Text, tokenizer: Any) -> None:
    endless = copy.deepcopy(tokenizer)
    endless.eos_token = None
    with pytest.raises(ModelError, match="no stop token, so the model would not learn to stop"):
        encode_all([row], endless)


def test_a_conversation_to_be_answered_ends_where_the_answer_begins(tokenizer: Any) -> None:
    question = render(LETTER.prompt, tokenizer, to_be_answered=True)
    assert render(LETTER.turns, tokenizer) == f"{question}Aye. Until five.<|im_end|>\n"


# Running texts


@pytest.fixture(params=["tokenizer", "own_tokenizer"])
def either(request: pytest.FixtureRequest) -> Any:
    """SmolLM2's tokenizer and a new model's, one after the other."""
    return request.getfixturevalue(request.param)


def test_a_running_text_loses_no_token_however_it_is_cut(either: Any) -> None:
    whole = [*either(STORY.text)["input_ids"], either.eos_token_id]
    for max_length in range(2, len(whole) + 2):
        pieces = list(encode_text(STORY, either, max_length=max_length))
        assert [*pieces[0].input_ids, *(token for piece in pieces[1:] for token in piece.input_ids[1:])] == whole
        assert [token for piece in pieces for token in trained_tokens(piece)] == whole[1:]


def test_each_piece_begins_with_the_token_that_the_one_before_ended_with(either: Any) -> None:
    pieces = list(encode_text(STORY, either, max_length=8))
    assert len(pieces) > 2
    for before, after in itertools.pairwise(pieces):
        assert after.input_ids[0] == before.input_ids[-1]


def test_pieces_are_as_long_as_allowed_but_the_last(either: Any) -> None:
    *full, last = encode_text(STORY, either, max_length=8)
    assert [len(piece) for piece in full] == [8] * len(full)
    assert 2 <= len(last) <= 8


def test_every_token_of_a_piece_but_its_first_is_trained(either: Any) -> None:
    for piece in encode_text(STORY, either, max_length=8):
        assert piece.completion_mask == (False, *(True,) * (len(piece) - 1))
        assert (piece.row, piece.truncated, piece.label) == (STORY.number, False, None)


def test_a_running_text_ends_with_the_stop_token(either: Any) -> None:
    *_, last = encode_text(STORY, either, max_length=8)
    assert trained_tokens(last)[-1] == either.eos_token_id


def test_control_tokens_in_a_running_text_are_refused(either: Any) -> None:
    with pytest.raises(DataError, match=r"Example 9: the text contains <\|endoftext\|>"):
        list(encode_text(Text(9, "The end.<|endoftext|>Or not."), either, max_length=8))


# Labelled texts

LABELS = ("praise", "refund")
MAIL = Labelled(5, "The lamp came broken, and I want my money back.", "refund")


def test_a_labelled_text_has_the_number_of_its_label_and_no_trained_token(minilm_tokenizer: Any) -> None:
    example = encode_labelled(MAIL, minilm_tokenizer, labels=LABELS, max_length=512)
    assert example.label == 1
    assert example.trained_tokens == 0
    assert list(example.input_ids) == minilm_tokenizer(MAIL.text)["input_ids"]


def test_a_labelled_text_that_is_cut_keeps_the_tokens_that_frame_it(minilm_tokenizer: Any) -> None:
    example = encode_labelled(MAIL, minilm_tokenizer, labels=LABELS, max_length=6)
    assert example.truncated
    assert minilm_tokenizer.decode(example.input_ids) == "[CLS] the lamp came broken [SEP]"


def test_a_label_that_is_in_no_training_row_is_refused_with_those_that_are(minilm_tokenizer: Any) -> None:
    with pytest.raises(DataError, match=r"(?s)Example 5: no training example has the label 'refund'.*praise, repair"):
        encode_labelled(MAIL, minilm_tokenizer, labels=("praise", "repair"), max_length=512)


def test_a_labelled_text_is_cut_where_the_model_reads_no_further(minilm_tokenizer: Any) -> None:
    long = Labelled(6, "word " * 700, "refund")
    (example,) = encode_all([long], minilm_tokenizer, labels=LABELS, max_length=4096)
    assert len(example) == 512
    assert example.truncated


def test_control_tokens_in_a_labelled_text_are_refused(minilm_tokenizer: Any) -> None:
    with pytest.raises(DataError, match=r"Example 5: the text contains \[SEP\]"):
        encode_labelled(Labelled(5, "One [SEP] two", "refund"), minilm_tokenizer, labels=LABELS, max_length=512)


# All rows


def test_all_rows_of_a_chat_come_in_their_order(tokenizer: Any) -> None:
    rows = list(stream_rows(BUILT_IN["replies"].heldout))
    examples = encode_all(rows, tokenizer)
    assert [example.row for example in examples] == [row.number for row in rows]
    assert list(examples) == [
        encode(row, tokenizer, train_on="completion", max_length=512) for row in rows if isinstance(row, Row)
    ]


def test_rows_that_are_cut_are_noted_and_rows_with_nothing_left_are_dropped(tokenizer: Any) -> None:
    long_answer = Row(1, (Turn("user", "Hm?"), Turn("assistant", "word " * 100)))
    long_question = Row(2, (Turn("user", "word " * 100), Turn("assistant", "Hm.")))
    examples = encode_all([long_answer, long_question, LETTER], tokenizer, max_length=64)
    assert list(examples.truncated) == [1]
    assert list(examples.dropped) == [2]
    assert [(example.row, example.truncated) for example in examples] == [(1, True), (1, False)]


def test_a_labelled_text_is_kept_although_no_token_of_it_is_trained(minilm_tokenizer: Any) -> None:
    examples = encode_all([MAIL], minilm_tokenizer, labels=LABELS)
    assert [example.label for example in examples] == [1]
    assert not examples.dropped


def test_the_bytes_of_running_texts_are_counted_for_bits_a_byte(own_tokenizer: Any, tokenizer: Any) -> None:
    assert encode_all([STORY, STORY], own_tokenizer, max_length=8).text_bytes == 2 * len(STORY.text.encode())
    assert encode_all([TALK], tokenizer).text_bytes == 0


def test_running_texts_are_neither_truncated_nor_dropped(own_tokenizer: Any) -> None:
    texts = [Text(number, text) for number, text in enumerate(itertools.islice(high_street.documents(1), 50), 1)]
    examples = encode_all(texts, own_tokenizer, max_length=16)
    assert not examples.truncated
    assert not examples.dropped
    # The start token is the one that is not trained; the stop token is.
    assert examples.trained_tokens == sum(len(own_tokenizer(text.text)["input_ids"]) for text in texts)


# The store

KEPT = [
    Example(1, (5, 7, 2**31), (False, True, True)),
    Example(1, (0, 1), (False, True), truncated=True),
    Example(2**40, tuple(range(300)), (False,) * 300, label=0),
    Example(9, (3,), (False,), truncated=True, label=41),
]


def store_of(examples: Iterable[Example]) -> Examples:
    store = Examples()
    for example in examples:
        store.add(example)
    return store


def test_what_goes_into_the_store_comes_out() -> None:
    store = store_of(KEPT)
    assert list(store) == KEPT
    assert [store[place] for place in (3, 0, 2, -3)] == [KEPT[place] for place in (3, 0, 2, -3)]
    assert list(store.lengths) == [3, 2, 300, 1]
    assert store.trained_tokens == 3


def test_the_store_can_be_added_to_after_it_was_read() -> None:
    store = store_of(KEPT[:2])
    assert store[0] == KEPT[0]
    store.add(KEPT[2])
    assert list(store) == KEPT[:3]


def test_a_slice_of_the_store_is_a_list() -> None:
    store = store_of(KEPT)
    for piece in (slice(2), slice(1, None), slice(None, None, -1), slice(-2, None), slice(9, 12)):
        assert store[piece] == KEPT[piece]


def test_beyond_its_end_the_store_has_nothing() -> None:
    store = store_of(KEPT)
    with pytest.raises(IndexError):
        store[len(KEPT)]
    assert not Examples()


def test_the_store_notes_what_it_drops_and_what_was_cut() -> None:
    nothing_to_train = Example(6, (4, 4), (False, False))
    store = store_of([*KEPT, nothing_to_train])
    assert len(store) == len(KEPT)
    assert list(store.dropped) == [6]
    assert list(store.truncated) == [1, 9]


def test_a_token_takes_five_bytes_of_memory() -> None:
    count, tokens = 300, 1000
    tracemalloc.start()
    store = store_of(Example(row, (row,) * tokens, (False, *(True,) * (tokens - 1))) for row in range(count))
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert store[count // 2].input_ids == (count // 2,) * tokens
    assert held < 1.2 * count * (5 * tokens + 25)  # arrays keep up to an eighth of their length in reserve
