"""A language model of our own size, from nothing: its tokenizer, trained on the texts, and its random weights."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

from ftdemo.errors import DataError
from ftdemo.models.load import Source

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

START, TURN, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
"""Control tokens: what a text begins with, what a turn of a conversation begins with, and what ends either."""
SOURCE = Source(name="new", path="", origin="random weights", sha256="")
"""Where a new model comes from: nowhere."""
_MOST_TEXTS = 20_000
_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerBase:
    """A byte-level BPE tokenizer (Sennrich et al. 2016) of `vocabulary` tokens, learned from the first 20,000 texts.

    Its first 256 tokens are the bytes, so that it can spell any text. Each text begins with `START`.

    Raises:
        DataError: If the texts are too few to give so many tokens.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
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
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, bos_token=START, eos_token=STOP, pad_token=START, additional_special_tokens=[TURN]
    )
    fast.chat_template = _CHAT_TEMPLATE
    return fast


def new_llama(tokenizer: PreTrainedTokenizerBase, *, width: int, layers: int, length: int) -> PreTrainedModel:
    """A Llama (Touvron et al. 2023) with random weights, in float32, sized by `width` and `layers` alone.

    Heads are 64 wide, or 32 where that would not come out or leave but one; the feed-forward layer 8/3 as wide as the
    model, rounded to a multiple of 32; the embedding is the head too. It reads at most `length` tokens at once.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    heads = width // (64 if width % 64 == 0 and width > 64 else 32)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        intermediate_size=round(width * 8 / 3 / 32) * 32,
        max_position_embeddings=length,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)
