"""From rows to examples: the chat template, the tokens with a loss, and a compact store of examples.

The mask goes by *position* in the rendered text, never by token id: where the padding token is also the stop token,
as in SmolLM2, masking by id would leave the stop token untrained.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, overload

from ftdemo.data import AnyRow, Labelled, Row, Text, Turn
from ftdemo.errors import DataError, ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_NO_LABEL = -1
_IDENTIFIERS = ("tool_call_id", "name")
"""Keys of a turn that say who speaks or to which call; a template that leaves them out loses no content."""
_NAMED_LABELS = 20
"""How many classes an error names."""


class EmptyTurnError(DataError):
    """An assistant turn of which the model's chat template renders nothing."""


@dataclass(frozen=True)
class Example:
    """A row, or a piece of one, as token ids: what a model is trained on.

    `completion_mask[i]` says whether the model is taught to predict ``input_ids[i]`` from the tokens before it.
    The first token has nothing before it, so it is never trained.
    """

    row: int
    input_ids: tuple[int, ...]
    completion_mask: tuple[bool, ...]
    truncated: bool = False
    label: int | None = None
    """The class of the text, where there are classes."""

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def trained_tokens(self) -> int:
        """How many tokens have a loss."""
        return sum(self.completion_mask)


class Examples(Sequence[Example]):
    """Examples in arrays: 5 bytes per token and 25 per example, where tuples would take about 44 per token.

    Attributes:
        lengths: Tokens of each example.
        trained_tokens: Tokens with a loss, of all examples.
        text_bytes: Bytes of the texts, in UTF-8, that the tokens stand for.
        truncated: Rows (from 1) that `max_length` cuts.
        dropped: Rows of which it leaves nothing to train; they are not among the examples.
        unread_keys: Keys that carry meaning and that the model does not read, with the number of their rows.
        largest_id: The largest token id.
    """

    def __init__(self) -> None:
        self._ids = array("I")
        self._mask = bytearray()
        self._ends = array("Q", [0])
        self._rows = array("Q")
        self._labels = array("i")
        self._cut = bytearray()
        self.lengths = array("I")
        self.trained_tokens = 0
        self.text_bytes = 0
        self.truncated = array("Q")
        self.dropped = array("Q")
        self.unread_keys: Counter[str] = Counter()
        self.largest_id = 0

    def add(self, example: Example) -> None:
        """Append an example, or note it as dropped if it has nothing to train."""
        if not example.trained_tokens and example.label is None:
            self.dropped.append(example.row)
            return
        if example.truncated:
            self.truncated.append(example.row)
        self._ids.extend(example.input_ids)
        self._mask.extend(example.completion_mask)
        self._ends.append(len(self._ids))
        self._rows.append(example.row)
        self._labels.append(_NO_LABEL if example.label is None else example.label)
        self._cut.append(example.truncated)
        self.lengths.append(len(example))
        self.trained_tokens += example.trained_tokens
        self.largest_id = max(self.largest_id, max(example.input_ids))

    def notes_on_keys(self) -> Iterator[str]:
        """A sentence for each key that carries meaning and that the model does not read."""
        for key, count in self.unread_keys.items():
            examples = "1 example has" if count == 1 else f"{count:,} examples have"
            yield f"The model does not read `{key}`, which {examples}."

    def __len__(self) -> int:
        return len(self.lengths)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        tokens = slice(self._ends[place], self._ends[place + 1])
        label = None if self._labels[place] == _NO_LABEL else self._labels[place]
        mask = tuple(map(bool, self._mask[tokens]))
        return Example(self._rows[place], tuple(self._ids[tokens]), mask, bool(self._cut[place]), label)


def encode_all(
    rows: Iterable[AnyRow],
    tokenizer: PreTrainedTokenizerBase,
    *,
    train_on: str = "completion",
    train_stop: bool = True,
    max_length: int = 512,
    labels: Sequence[str] = (),
) -> Examples:
    """Turn rows into examples.

    Conversations and labelled texts are cut at `max_length` tokens, and rows with nothing left to train are dropped;
    `Examples` lists both. Running texts lose nothing: a long one becomes several examples.

    Raises:
        DataError: If a text contains one of the model's control tokens, or a label is not among `labels`.
        ModelError: If conversations meet a tokenizer whose chat template cannot teach them.
    """
    examples = Examples()
    for row in rows:
        examples.unread_keys.update(unread_keys(row, tokenizer))
        match row:
            case Row():
                examples.add(encode(row, tokenizer, train_on=train_on, train_stop=train_stop, max_length=max_length))
            case Text():
                for piece in encode_text(row, tokenizer, max_length=max_length):
                    examples.add(piece)
                examples.text_bytes += len(row.text.encode())
            case Labelled():
                examples.add(encode_labelled(row, tokenizer, labels=labels, max_length=max_length))
    return examples


def encode(
    row: Row, tokenizer: PreTrainedTokenizerBase, *, train_on: str, max_length: int, train_stop: bool = True
) -> Example:
    """A conversation as token ids, with a mask of the tokens to train.

    With ``train_on="completion"`` these are the content of every assistant turn and the stop token that ends it; with
    ``"all"`` they are all tokens but the first. Turns that are context only are never among them. Without `train_stop`,
    no stop token is trained.

    Raises:
        DataError: If the row's text contains one of the template's control tokens, a turn is empty once rendered, or
            the template refuses the row.
        ModelError: If the tokenizer has no chat template, or one that does not end a turn with the stop token.
    """
    _refuse_unusable_turns(row, tokenizer)
    text = render(row.turns, tokenizer, tools=row.tools, row=row.number)
    if not tokenizer.is_fast:
        what = f"{type(tokenizer).__name__} does not say which characters a token stands for."
        raise ModelError(what, "Use a model with a fast tokenizer, which has a tokenizer.json.")
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, places = encoded["input_ids"], encoded["offset_mapping"]
    trained = [train_on == "all"] * len(ids)
    for index, turn in enumerate(row.turns):
        is_answer = turn.role == "assistant" and turn.train
        if is_answer if train_on == "completion" else not turn.train:
            start, end = _span(row, index, text, tokenizer)
            for place, (a, b) in enumerate(places):
                if start <= a and start < b <= end:  # a token that begins before the answer is part of the prompt
                    trained[place] = is_answer
    if not train_stop:
        trained = [counts and token != tokenizer.eos_token_id for counts, token in zip(trained, ids, strict=True)]
    trained[0] = False
    kept = slice(0, max_length)
    return Example(row.number, tuple(ids[kept]), tuple(trained[kept]), truncated=len(ids) > max_length)


def unread_keys(row: AnyRow, tokenizer: PreTrainedTokenizerBase | None) -> list[str]:
    """The keys of a row that carry meaning and that the model does not read.

    A chat template reads a key if the text is another without it. Without a tokenizer, all are named that a template
    might leave out.
    """
    unread = [key for key, _ in row.extra if key != "tools"]
    if not isinstance(row, Row):
        return unread
    of_turns = dict.fromkeys(key for turn in row.turns for key, _ in turn.extra if key not in _IDENTIFIERS)
    if tokenizer is None:
        return [*unread, *(["tools"] if row.tools else []), *of_turns]
    if not (of_turns or row.tools):
        return unread
    text = render(row.turns, tokenizer, tools=row.tools, row=row.number)

    def is_read(turns: Sequence[Turn], tools: Sequence[dict[str, Any]]) -> bool:
        try:
            return render(turns, tokenizer, tools=tools) != text
        except TemplateRefusalError:  # Mistral's lets two assistant turns follow each other only if one has tool calls
            return True

    if row.tools and not is_read(row.turns, ()):
        unread.append("tools")
    for key in of_turns:
        without = [replace(turn, extra=tuple(pair for pair in turn.extra if pair[0] != key)) for turn in row.turns]
        if not is_read(without, row.tools):
            unread.append(key)
    return unread


def _refuse_unusable_turns(row: Row, tokenizer: PreTrainedTokenizerBase) -> None:
    for turn in row.turns:
        refuse_control_tokens(row.number, turn.content, f"the {turn.role} turn", tokenizer)
    if not row.extra and not any(turn.extra for turn in row.turns):
        return
    for where, value in [*row.extra, *(pair for turn in row.turns for pair in turn.extra)]:
        refuse_control_tokens(row.number, json.dumps(value, ensure_ascii=False, default=str), f"`{where}`", tokenizer)
    is_empty = any(turn.role == "assistant" and not turn.content for turn in row.turns)
    if is_empty and "tool_calls" in unread_keys(row, tokenizer):
        raise EmptyTurnError(
            f"Row {row.number}: an assistant turn holds only `tool_calls`, which the model's chat template leaves out.",
            "Use a model whose template renders tools, or write the call into the content.",
        )


def encode_text(row: Text, tokenizer: PreTrainedTokenizerBase, *, max_length: int) -> Iterator[Example]:
    """A running text, ended by the stop token, in pieces of at most `max_length` tokens.

    Each piece begins with the last token of the one before, so that every token but the very first is trained once.

    Raises:
        DataError: If the text contains a control token.
        ModelError: If the tokenizer has no stop token.
    """
    refuse_control_tokens(row.number, row.text, "the text", tokenizer)
    _require_stop_token(tokenizer)
    ids = [*tokenizer(row.text, verbose=False)["input_ids"], tokenizer.eos_token_id]
    for start in range(0, len(ids) - 1, max_length - 1):
        piece = tuple(ids[start : start + max_length])
        yield Example(row.number, piece, (False, *(True,) * (len(piece) - 1)))


def encode_labelled(
    row: Labelled, tokenizer: PreTrainedTokenizerBase, *, labels: Sequence[str], max_length: int
) -> Example:
    """A text as token ids, with the number of its label. Only the label has a loss, no token.

    It is cut at `max_length` tokens, or where the model's own limit is lower, there.
    """
    refuse_control_tokens(row.number, row.text, "the text", tokenizer)
    if row.label not in labels:
        known = ", ".join(labels[:_NAMED_LABELS]) + (" …" if len(labels) > _NAMED_LABELS else "")
        what = f"Row {row.number}: the label {row.label!r} is in no training example, so the model has no such class."
        raise DataError(what, f"Train on rows with it, or leave the row out. The classes are: {known}.")
    full = len(tokenizer(row.text, verbose=False)["input_ids"])
    limit = min(max_length, tokenizer.model_max_length)
    ids = tokenizer(row.text, truncation=True, max_length=limit)["input_ids"]
    return Example(row.number, tuple(ids), (False,) * len(ids), full > limit, labels.index(row.label))


class TemplateRefusalError(DataError):
    """A conversation that the model's chat template does not take."""


def render(
    turns: Sequence[Turn],
    tokenizer: PreTrainedTokenizerBase,
    *,
    to_be_answered: bool = False,
    tools: Sequence[dict[str, Any]] = (),
    row: int | None = None,
) -> str:
    """The conversation as the text that the model reads. No other function applies a chat template.

    Where the template refuses a system turn, as Gemma's does, or leaves it out, its text begins the first user turn.

    Args:
        turns: The conversation.
        tokenizer: The model's, with the template.
        to_be_answered: Whether the text ends where the next answer begins.
        tools: The tools that the model may call.
        row: The conversation's number in its file, for errors.

    Raises:
        ModelError: If the tokenizer has no chat template.
        TemplateRefusalError: If its template refuses the conversation.
    """
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        raise ModelError("The tokenizer has no chat template.", "Use an instruction-tuned model, which has one.")
    why = ""
    for form in (turns, _with_system_in_user_turn(turns)):
        messages = [turn.as_message() for turn in form]
        try:
            text = str(
                tokenizer.apply_chat_template(
                    messages, tools=list(tools) or None, tokenize=False, add_generation_prompt=to_be_answered
                )
            )
        except TemplateError as error:
            why = str(error)
            continue
        if all(turn.role != "system" or turn.content.strip() in text for turn in form):
            return text
        why = "it leaves the system turn out"
    raise TemplateRefusalError(
        f"{f'Row {row}: the' if row else 'The'} model's chat template does not take this conversation: {why}.",
        "Most templates want user and assistant in turn, beginning with the user.",
    )


def _with_system_in_user_turn(turns: Sequence[Turn]) -> Sequence[Turn]:
    """The conversation with the text of its system turn at the beginning of the user turn that follows it."""
    if [turn.role for turn in turns[:2]] != ["system", "user"]:
        return turns
    system, user, *rest = turns
    return (replace(user, content=f"{system.content}\n\n{user.content}"), *rest)


def _require_stop_token(tokenizer: PreTrainedTokenizerBase) -> None:
    if tokenizer.eos_token is None:
        raise ModelError(
            "The tokenizer has no stop token, so the model would not learn to stop.",
            "Set `eos_token` in its tokenizer_config.json to the token that ends the model's texts.",
        )


def _span(row: Row, index: int, text: str, tokenizer: Any) -> tuple[int, int]:
    """Where a turn begins and ends in the text, in characters; of an assistant turn, its content and stop token."""
    _require_stop_token(tokenizer)
    turn, is_last = row.turns[index], index + 1 == len(row.turns)
    is_answer = turn.role == "assistant"
    settings: dict[str, Any] = {"tools": row.tools, "row": row.number}
    before = render(row.turns[:index], tokenizer, to_be_answered=is_answer, **settings) if index else ""
    upto = text if is_last else render(row.turns[: index + 1], tokenizer, **settings)
    stop = upto.rfind(tokenizer.eos_token) if is_answer else len(upto)
    if not (upto.startswith(before) and text.startswith(upto)) or stop < len(before):
        raise ModelError(
            f"Row {row.number}: the chat template does not end an assistant turn with the stop token "
            f"{tokenizer.eos_token}, or changes what was said before.",
            "The model would not learn to stop. Use a model whose template closes each turn with its stop token.",
        )
    return len(before), stop + len(tokenizer.eos_token) if is_answer else stop


def refuse_control_tokens(number: int, text: str, where: str, tokenizer: Any) -> None:
    """Refuse a text that contains one of the model's control tokens.

    Raises:
        DataError: If it does; the message names the row and the part of it.
    """
    for token in tokenizer.all_special_tokens:
        if token in text:
            raise DataError(
                f"Row {number}: {where} contains {token}, a control token, which would end or start a turn.",
                "Remove it from the text: only the model's own template may use control tokens.",
            )
