from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from ftdemo.data import Row, Text, Turn
from ftdemo.data.sets import high_street
from ftdemo.data.tokenize import encode, encode_text, render
from ftdemo.errors import DataError
from ftdemo.models import load as models
from ftdemo.models import new
from ftdemo.models.load import Source

VOCABULARY = 512
TALK = Row(
    1,
    (
        Turn("system", "Be brief."),
        Turn("user", "One?"),
        Turn("assistant", "Two."),
        Turn("user", "Three? 🚢"),
        Turn("assistant", "  Four.\n\nFive: 12 ½ kg"),
    ),
)


def tales(count: int = 200) -> list[str]:
    return list(itertools.islice(high_street.documents(0), count))


@pytest.fixture(scope="module")
def own_tokenizer() -> Any:
    return new.train_tokenizer(tales(), VOCABULARY)


def new_llama(tokenizer: Any, *, width: int = 64, layers: int = 2, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return new.new_llama(tokenizer, width=width, layers=layers, length=128)


# The tokenizer


@pytest.mark.parametrize("vocabulary", [320, 512, 1024])
def test_the_vocabulary_has_exactly_the_size_asked_for(vocabulary: int) -> None:
    tokenizer = new.train_tokenizer(tales(), vocabulary)
    assert len(tokenizer) == vocabulary
    assert sorted(tokenizer.get_vocab().values()) == list(range(vocabulary))


@pytest.mark.parametrize(
    "text",
    [
        *tales(3),
        "🚢⚓ 👩‍👩‍👧 🇩🇰",
        "Ærøskøbing, Кронштадт, 横浜, مرسى",
        "  two  spaces\n\n\ttab and end \r\n ",
        "a",
        "\u2028\x00\x7f\u200b\ufeff",
        "l'été don't it'll 3.14 4,417",
    ],
)
def test_any_text_comes_back_from_its_tokens(text: str, own_tokenizer: Any) -> None:
    ids = own_tokenizer(text, add_special_tokens=False)["input_ids"]
    assert own_tokenizer.decode(ids) == text
    assert own_tokenizer.decode(own_tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_the_texts_it_learned_from_take_fewer_tokens_than_letters(own_tokenizer: Any) -> None:
    letters = sum(map(len, tales()))
    tokens = sum(len(own_tokenizer(text)["input_ids"]) for text in tales())
    assert tokens < 0.6 * letters  # measured: 0.49; bytes alone would be 1


@pytest.mark.parametrize("before", ["", " ", "#", "PF", '"', "no. "])
def test_a_number_is_read_the_same_way_wherever_it_stands(before: str) -> None:
    tokenizer = new.train_tokenizer(tales(400), 1024)
    for number in ("48213", "90070", "10005"):
        tokens = tokenizer.tokenize(f"{before}{number}")
        assert tokens[-3:] == [number[:2], number[2:4], number[4:]]


def test_each_text_begins_with_the_start_token_and_a_conversation_does_not(own_tokenizer: Any) -> None:
    start = own_tokenizer.convert_tokens_to_ids(new.START)
    assert own_tokenizer("The boats came in.")["input_ids"][0] == start
    assert start not in encode(TALK, own_tokenizer, train_on="completion", max_length=128).input_ids


def test_control_tokens_are_single_tokens_and_known_as_such(own_tokenizer: Any) -> None:
    for token in (new.START, new.TURN, new.STOP):
        assert len(own_tokenizer(token, add_special_tokens=False)["input_ids"]) == 1
    assert set(own_tokenizer.all_special_tokens) == {new.START, new.TURN, new.STOP}
    assert own_tokenizer.bos_token == new.START
    assert own_tokenizer.eos_token == new.STOP


def test_the_chat_template_opens_and_closes_each_turn(own_tokenizer: Any) -> None:
    assert render(TALK.turns[:3], own_tokenizer) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nOne?<|im_end|>\n"
        "<|im_start|>assistant\nTwo.<|im_end|>\n"
    )
    assert render(TALK.prompt, own_tokenizer, to_be_answered=True).endswith("🚢<|im_end|>\n<|im_start|>assistant\n")


def test_every_assistant_turn_is_trained_and_ends_with_the_stop_token(own_tokenizer: Any) -> None:
    example = encode(TALK, own_tokenizer, train_on="completion", max_length=128)
    trained = [
        token for token, is_trained in zip(example.input_ids, example.completion_mask, strict=True) if is_trained
    ]
    assert own_tokenizer.decode(trained) == "Two.<|im_end|>  Four.\n\nFive: 12 ½ kg<|im_end|>"


def test_the_same_texts_give_the_same_tokenizer(own_tokenizer: Any) -> None:
    again = new.train_tokenizer(tales(), VOCABULARY)
    assert models.vocabulary_hash(again) == models.vocabulary_hash(own_tokenizer)
    other = new.train_tokenizer(tales(100), VOCABULARY)
    assert models.vocabulary_hash(other) != models.vocabulary_hash(own_tokenizer)


def test_too_little_text_for_the_vocabulary_is_refused_with_what_it_gives() -> None:
    # 256 bytes, three control tokens, a hundred pairs of digits and a few pieces of this sentence:
    with pytest.raises(DataError, match=r"only 3\d\d tokens, but `vocabulary` is 1024") as refusal:
        new.train_tokenizer(["The boats came in at four."], 1024)
    assert refusal.value.remedy == "Lower `vocabulary`, or provide more text."


# The model


@pytest.mark.parametrize(("width", "layers"), [(32, 1), (64, 2), (128, 4)])
def test_a_new_model_has_as_many_parameters_as_the_formula_says(width: int, layers: int, own_tokenizer: Any) -> None:
    model = new_llama(own_tokenizer, width=width, layers=layers)
    inner = round(width * 8 / 3 / 32) * 32
    layer = 4 * width**2 + 4 * width + 3 * width * inner + 2 * width  # attention with biases, feed-forward, norms
    by_formula = VOCABULARY * width + layers * layer + width
    assert sum(weight.numel() for weight in model.parameters()) == by_formula
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_the_embedding_is_the_head_too(own_tokenizer: Any) -> None:
    model = new_llama(own_tokenizer)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


@pytest.mark.parametrize(("width", "heads"), [(32, 1), (64, 2), (96, 3), (128, 4), (192, 6)])
def test_heads_are_32_wide(width: int, heads: int, own_tokenizer: Any) -> None:
    config = new_llama(own_tokenizer, width=width).config
    assert config.num_attention_heads == config.num_key_value_heads == heads


def test_the_config_knows_the_tokens(own_tokenizer: Any) -> None:
    config = new_llama(own_tokenizer, width=128).config
    assert config.max_position_embeddings == 128
    assert config.vocab_size == VOCABULARY
    assert own_tokenizer.convert_ids_to_tokens([config.bos_token_id, config.eos_token_id, config.pad_token_id]) == [
        new.START,
        new.STOP,
        new.START,
    ]


def test_the_same_seed_gives_the_same_weights(own_tokenizer: Any) -> None:
    def weights(seed: int) -> list[torch.Tensor]:
        return [weight for weight in new_llama(own_tokenizer, seed=seed).parameters() if weight.dim() > 1]

    assert all(map(torch.equal, weights(0), weights(0)))
    assert not any(map(torch.equal, weights(0), weights(1)))


def test_a_new_model_knows_nothing(own_tokenizer: Any) -> None:
    (piece,) = encode_text(Text(1, tales(1)[0][:100]), own_tokenizer, max_length=128)
    ids = torch.tensor([piece.input_ids])
    with torch.no_grad():
        loss = new_llama(own_tokenizer)(input_ids=ids, labels=ids).loss.item()
    # Weights of 0.02 make logits of some tenths, so the loss is a few hundredths off that of the uniform guess.
    assert loss == pytest.approx(math.log(VOCABULARY), abs=0.1)


def test_model_and_tokenizer_come_back_from_a_folder(own_tokenizer: Any, tmp_path: Path) -> None:
    model = new_llama(own_tokenizer)
    model.save_pretrained(tmp_path)
    own_tokenizer.save_pretrained(tmp_path)
    source = Source(name="mine", path=str(tmp_path), origin="", sha256="")
    again: Any = models.load_saved(source)
    tokenizer = models.load_tokenizer(source)
    assert models.vocabulary_hash(tokenizer) == models.vocabulary_hash(own_tokenizer)
    assert tokenizer(tales(1)[0])["input_ids"] == own_tokenizer(tales(1)[0])["input_ids"]
    assert render(TALK.turns, tokenizer) == render(TALK.turns, own_tokenizer)
    assert (tokenizer.eos_token, tokenizer.pad_token) == (new.STOP, new.START)
    assert all(map(torch.equal, model.state_dict().values(), again.state_dict().values()))
    assert again.get_output_embeddings().weight is again.get_input_embeddings().weight


def test_half_the_heads_of_the_first_layer_begin_by_looking_at_the_token_before(own_tokenizer: Any) -> None:
    model = new_llama(own_tokenizer, width=128)
    model.set_attn_implementation("eager")
    ids = own_tokenizer(" ".join(tales(1)), return_tensors="pt")["input_ids"][:, :64]
    with torch.no_grad():
        first, second = model(ids, output_attentions=True).attentions
    rows = torch.arange(8, ids.shape[1])
    before = first[0, :, rows, rows - 1]  # heads x rows
    looking, other = before[:2].mean(), before[2:].mean()
    # A head without a direction spreads its attention over the 9 to 64 tokens that it sees.
    assert looking > 0.15 > 0.06 > other
    assert second[0, :, rows, rows - 1].mean() < 0.06
