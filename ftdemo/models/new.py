"""A new language model of any size: a tokenizer trained on its texts, and random weights."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

from ftdemo.errors import DataError
from ftdemo.models.load import Source

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

START, TURN, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
"""Control tokens: the first begins a text, the second begins a turn of a conversation, the third ends either."""
SOURCE = Source(name="new", path="", origin="random weights", sha256="")
"""Stands for a new model, which has no source."""
_MOST_TEXTS = 20_000
"""Tokens come from frequent pairs of characters, which these texts show; more of them would mainly take longer."""
_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerBase:
    """A byte-level BPE tokenizer (Sennrich et al. 2016) of `vocabulary` tokens, trained on the first 20,000 texts.

    It has a token for each of the 256 bytes, so it can spell any text, and writes each digit of a number as a token. It
    begins each text with `START`.

    Raises:
        DataError: If there is too little text for so many tokens.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    # A number is read digit by digit: tokens of several digits would cut it differently from place to place, and a
    # small model could not copy it.
    digits, pieces = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pieces])  # type: ignore[no-untyped-call]
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[START, TURN, STOP],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(islice(texts, _MOST_TEXTS), trainer)
    if tokenizer.get_vocab_size() < vocabulary:
        raise DataError(
            f"The texts give only {tokenizer.get_vocab_size()} tokens, but `vocabulary` is {vocabulary}.",
            "Lower `vocabulary`, or give more text.",
        )
    start = tokenizer.token_to_id(START)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{START} $A", special_tokens=[(START, start)])
    # Padding needs no token of its own, because it is masked by position and never read or trained. TURN is named as
    # special so that answers are decoded without it.
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, bos_token=START, eos_token=STOP, pad_token=START, additional_special_tokens=[TURN]
    )
    fast.chat_template = _CHAT_TEMPLATE
    return fast


def new_llama(tokenizer: PreTrainedTokenizerBase, *, width: int, layers: int, length: int) -> PreTrainedModel:
    """A Llama (Touvron et al. 2023) with random weights, in float32, sized by `width` and `layers` alone.

    A head is 32 wide: a small model copies sooner with more heads than with wide ones. The feed-forward layer is 8/3 as
    wide as the model, rounded to a multiple of 32. The context window is `length` tokens.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    heads = width // 32
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        intermediate_size=round(width * 8 / 3 / 32) * 32,  # three such matrices have the weights of two 4 times as wide
        max_position_embeddings=length,
        tie_word_embeddings=True,  # a head of its own would be a large share of so small a model
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)
