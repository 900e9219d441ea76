"""Loads tokenizers, and gives each the stop token and the padding token that its files do not name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftdemo.errors import ModelError, first_line

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedTokenizerBase

_ANSWER = "An answer"
"""Goes through a chat template, to see what ends it."""


def read_tokenizer(folder: str | Path, name: str) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder, with its chat template, ready to train and to generate.

    The stop token becomes the one by which the chat template ends an answer: Gemma's files name another one. If they
    name none at all, it is the one in the model's settings. If there is no padding token, as in GPT-2 and Llama, or one
    that the model has no embedding for, another control token pads: padding is masked by position, so it is never read.

    Args:
        folder: Holds the tokenizer's files, and the model's ``config.json`` if there is one.
        name: What to call the model in errors.

    Raises:
        ModelError: If the files cannot be read, or name no control token at all.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # damaged files raise a dozen unrelated kinds
        what = f"{name}: its tokenizer cannot be read ({first_line(error)})."
        raise ModelError(what, "The folder should hold tokenizer.json and tokenizer_config.json.") from None
    settings = _settings(Path(folder))
    if stop := _stop_token(tokenizer, settings):
        tokenizer.eos_token = stop
    _choose_padding(tokenizer, _embedding_rows(settings), name)
    if window := _window(folder):
        tokenizer.model_max_length = min(tokenizer.model_max_length, window)
    return tokenizer


def stop_ids(tokenizer: PreTrainedTokenizerBase, generation: GenerationConfig | None) -> list[int]:
    """The tokens at which generation stops: the tokenizer's, first, and those that the model's own settings name.

    A model that was trained on another one before may still end with that: Gemma with ``<eos>`` instead of
    ``<end_of_turn>``.
    """
    named = getattr(generation, "eos_token_id", None)
    numbers = [tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])]
    return list(dict.fromkeys(number for number in numbers if number is not None))


def embedding_rows(folder: str | Path) -> int | None:
    """For how many tokens the model in a folder has an embedding, by its settings; none where they do not say."""
    return _embedding_rows(_settings(Path(folder)))


def window_of(config: Any) -> int | None:
    """The most tokens that a model of this configuration can read at once, an answer included; None without a limit."""
    config = config.get_text_config()
    positions: int | None = getattr(config, "max_position_embeddings", None)
    if positions and config.model_type in _POSITIONS_AFTER_PADDING:
        positions -= config.pad_token_id + 1
    rope = getattr(config, "rope_parameters", None) or {}
    if positions and "factor" in rope and "original_max_position_embeddings" in rope:  # YaRN and the like
        positions = max(positions, int(rope["factor"] * rope["original_max_position_embeddings"]))
    return positions


_POSITIONS_AFTER_PADDING = ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "longformer", "data2vec-text")
"""Models that number positions from the padding token's number plus one, so that fewer are left."""


def _window(folder: str | Path) -> int | None:
    from transformers import AutoConfig

    try:
        return window_of(AutoConfig.from_pretrained(folder, trust_remote_code=False))
    except (OSError, ValueError):
        return None  # an adapter's folder holds no model


def _embedding_rows(settings: dict[str, Any]) -> int | None:
    rows = _text_settings(settings).get("vocab_size")
    return int(rows) if rows else None


def _settings(folder: Path) -> dict[str, Any]:
    """The model's settings, and over them those by which it generates; empty where there is no model."""
    found: dict[str, Any] = {}
    for name in ("config.json", "generation_config.json"):
        try:
            found |= json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError):
            continue
    return found


def _text_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Those of the language model, where it is a part of a model that also sees or hears."""
    text: dict[str, Any] = settings.get("text_config") or {}
    return settings | text


def _stop_token(tokenizer: Any, settings: dict[str, Any]) -> str | None:
    """The token that ends an answer: what the chat template ends one with, or else what is named as such."""
    after = _after_an_answer(tokenizer)
    if tokenizer.eos_token and (tokenizer.eos_token in after or not after):
        return str(tokenizer.eos_token)
    added = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    ending = [token for token in {*added, *tokenizer.all_special_tokens} if token in after]
    if ending:
        return str(min(ending, key=lambda token: (after.index(token), -len(token))))
    if tokenizer.eos_token:
        return str(tokenizer.eos_token)
    number = _text_settings(settings).get("eos_token_id")
    number = number[0] if isinstance(number, list) and number else number
    return str(tokenizer.convert_ids_to_tokens(number)) if isinstance(number, int) else None


def _after_an_answer(tokenizer: Any) -> str:
    """What the chat template writes after an answer; nothing if there is no template, or it refuses a plain chat."""
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        return ""
    chat = [{"role": "user", "content": "A question"}, {"role": "assistant", "content": _ANSWER}]
    try:
        return str(tokenizer.apply_chat_template(chat, tokenize=False)).rpartition(_ANSWER)[2]
    except (TemplateError, ValueError, TypeError):
        return ""  # `render` will say why


def _choose_padding(tokenizer: Any, rows: int | None, name: str) -> None:
    usable = tokenizer.pad_token is not None and (rows is None or tokenizer.pad_token_id < rows)
    if usable:
        return
    others = (tokenizer.eos_token, tokenizer.unk_token, tokenizer.bos_token, *tokenizer.all_special_tokens)
    padding = next((token for token in others if token and token != tokenizer.pad_token), None)
    if padding is None:
        what = f"{name}: its tokenizer has no control token, so nothing can end an answer or pad a batch."
        raise ModelError(what, "Set `eos_token` in tokenizer_config.json to the token that ends the model's texts.")
    tokenizer.pad_token = padding
