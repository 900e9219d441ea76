"""Tokenizers as people find them: without padding, without a stop token, with tokens that the model lacks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from awkward import GEMMA, changed_copy
from transformers import AutoTokenizer

from ftdemo.errors import ModelError
from ftdemo.models import load as models
from ftdemo.models.tokenizer import embedding_rows, read_tokenizer

TINY = models.bundled_folder("tiny")
NO_PADDING = {"pad_token": None}
NO_STOP = {"eos_token": None, "pad_token": None}
WRONG_STOP = {"eos_token": "<|endoftext|>", "pad_token": None}


def read(folder: Path) -> Any:
    return read_tokenizer(folder, "mine")


@pytest.mark.parametrize(
    ("name", "stop", "padding"),
    [
        ("tiny", "<|im_end|>", "<|endoftext|>"),
        ("nano", "<|im_end|>", "<|endoftext|>"),
        ("smollm2", "<|im_end|>", "<|im_end|>"),
        ("minilm", None, "[PAD]"),
    ],
)
def test_a_tokenizer_that_names_its_tokens_keeps_them(name: str, stop: str | None, padding: str) -> None:
    tokenizer = models.load_tokenizer(models.resolve(name))
    assert (tokenizer.eos_token, tokenizer.pad_token) == (stop, padding)


def test_without_a_padding_token_the_stop_token_pads(tmp_path: Path) -> None:
    tokenizer = read(changed_copy(TINY, tmp_path / "model", tokenizer=NO_PADDING, settings={"pad_token_id": None}))
    assert tokenizer.pad_token == tokenizer.eos_token == "<|im_end|>"
    assert tokenizer(["one", "one two three"], padding=True)["input_ids"][0][0] == tokenizer.pad_token_id


def test_a_language_model_may_name_no_settings_of_a_part(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"vocab_size": 99, "text_config": null}', encoding="utf-8")
    assert embedding_rows(tmp_path) == 99


def test_a_padding_token_without_an_embedding_gives_way(tmp_path: Path) -> None:
    folder = changed_copy(TINY, tmp_path / "model")
    grown = AutoTokenizer.from_pretrained(folder)
    grown.add_special_tokens({"pad_token": "[PAD]"})
    grown.save_pretrained(folder)
    assert grown.pad_token_id == 2048 == embedding_rows(folder)
    assert read(folder).pad_token == "<|im_end|>"


@pytest.mark.parametrize("named", [NO_STOP, WRONG_STOP], ids=["none is named", "another is named"])
@pytest.mark.parametrize("template", [None, GEMMA], ids=["chat", "gemma"])
def test_the_stop_token_is_the_one_that_the_template_ends_an_answer_with(
    named: dict[str, Any], template: str | None, tmp_path: Path
) -> None:
    assert read(changed_copy(TINY, tmp_path / "model", tokenizer=named, template=template)).eos_token == "<|im_end|>"


def test_a_template_that_ends_an_answer_with_the_stop_token_and_more_changes_nothing(tmp_path: Path) -> None:
    template = "{% for m in messages %}{{ m['content'] + '<|im_end|><|endoftext|>' }}{% endfor %}"
    folder = changed_copy(TINY, tmp_path / "model", tokenizer=WRONG_STOP, template=template)
    assert read(folder).eos_token == "<|endoftext|>"


def test_without_a_template_the_stop_token_is_the_one_in_the_models_settings(tmp_path: Path) -> None:
    for name, number in (("one", 2), ("several", [2, 0])):
        settings = {"eos_token_id": number}
        folder = changed_copy(TINY, tmp_path / name, tokenizer=NO_STOP, settings=settings, template="")
        assert read(folder).eos_token == "<|im_end|>"
    without = changed_copy(TINY, tmp_path / "none", tokenizer=NO_STOP, settings={"eos_token_id": None}, template="")
    assert read(without).eos_token is None
    assert read(without).pad_token == "<|endoftext|>"  # its first token


def test_a_tokenizer_without_any_control_token_is_refused(tmp_path: Path) -> None:
    names = {"bos_token": None, "extra_special_tokens": None, **NO_STOP}
    settings = {"eos_token_id": None, "pad_token_id": None}
    folder = changed_copy(TINY, tmp_path / "model", tokenizer=names, settings=settings, template="")
    whole = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    (folder / "tokenizer.json").write_text(json.dumps(whole | {"added_tokens": [], "post_processor": None}))
    with pytest.raises(ModelError, match=r"mine: its tokenizer has no control token(?s:.*)Set `eos_token`"):
        read(folder)


@pytest.mark.parametrize("content", ["", '{"version": "1.0"}', '{"model": 1}'])
def test_a_damaged_tokenizer_is_refused(content: str, tmp_path: Path) -> None:
    folder = changed_copy(TINY, tmp_path / "model")
    (folder / "tokenizer.json").write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match="mine: its tokenizer cannot be read"):
        read(folder)


def test_a_tokenizer_knows_how_much_its_model_reads(tmp_path: Path) -> None:
    assert read(TINY).model_max_length == 512
    positions = {"model_type": "roberta", "max_position_embeddings": 130, "pad_token_id": 1}
    folder = changed_copy(TINY, tmp_path / "roberta", settings=positions)
    assert read(folder).model_max_length == 128  # it numbers positions from 2
    part_of_more = {"max_position_embeddings": None, "vocab_size": None, "text_config": {"vocab_size": 99}}
    assert embedding_rows(changed_copy(TINY, tmp_path / "model", settings=part_of_more)) == 99
    assert embedding_rows(tmp_path) is None
