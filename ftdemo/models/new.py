"""A new language model of any size: a tokenizer trained on its texts, and random weights."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, islice
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
_PAIRS = " ".join(f"{number:02}" for number in range(100))
_PAIRS_OCCUR = 2000
"""Often enough for each pair to be a token of its own, however rare it is in the texts."""
_ROOM_FOR_PAIRS = 1024
"""In a smaller vocabulary, parts of words are worth more."""
_EMBEDDING_DEVIATION = 0.12
"""Of the random embeddings; the other weights keep the library's 0.02."""
_FIRST_LOGITS = 0.1
"""The last norm begins with it: the output layer is the embeddings, and first guesses should be near uniform."""
_SHARPNESS = 1.5
"""With it, a head that looks at the token before gives that one most of its attention."""
_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerBase:
    """A byte-level BPE tokenizer (Sennrich et al. 2016) of `vocabulary` tokens, trained on the first 20,000 texts.

    It has a token for each of the 256 bytes, so it can spell any text, and reads a number in pairs of digits, each a
    token where there is room for a hundred of these. It begins each text with `START`.

    Raises:
        DataError: If there is too little text for so many tokens.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    # A number is read in pairs of digits from its left. Other tokens would cut the same number differently from place
    # to place, and single digits occur so often that a small model does not find the one to copy.
    pairs = pre_tokenizers.Split(Regex(r"\d{1,2}"), "isolated")
    pieces = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pairs, pieces])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[START, TURN, STOP],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    pairs_of_digits = [_PAIRS] * _PAIRS_OCCUR if vocabulary >= _ROOM_FOR_PAIRS else []
    tokenizer.train_from_iterator(chain(pairs_of_digits, islice(texts, _MOST_TEXTS)), trainer)
    if tokenizer.get_vocab_size() < vocabulary:
        raise DataError(
            f"The texts give only {tokenizer.get_vocab_size()} tokens, but `vocabulary` is {vocabulary}.",
            "Lower `vocabulary`, or provide more text.",
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
    wide as the model, rounded to a multiple of 32. The context window is `length` tokens. Attention has biases, by
    which half of the first layer's heads begin by looking at the token before.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    heads = width // 32
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        intermediate_size=round(width * 8 / 3 / 32) * 32,  # three such matrices have the weights of two 4 times as wide
        attention_bias=True,
        max_position_embeddings=length,
        tie_word_embeddings=True,  # a head of its own would be a large share of so small a model
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        # Tokens that are alike in use, as numbers are, drift together. They have to begin apart to be told apart.
        model.model.embed_tokens.weight.normal_(0, _EMBEDDING_DEVIATION)
        model.model.norm.weight.fill_(_FIRST_LOGITS)
        _look_back(model, heads // 2 or 1)
    return model


def _look_back(model: PreTrainedModel, heads: int) -> None:
    """Let heads of the first layer attend to the token before, whatever the tokens are.

    That is the first half of an induction head, which copies what followed the same token earlier (Olsson et al. 2022).
    A small model takes long to find it from random weights alone.
    """
    import torch

    attention = model.model.layers[0].self_attn
    angles = model.model.rotary_emb.inv_freq
    query = torch.cat([torch.ones_like(angles), torch.zeros_like(angles)])
    key = torch.cat([angles.cos(), angles.sin()])  # turned on by one position, so that the two agree best one apart
    for bias, one_head in ((attention.q_proj.bias, query), (attention.k_proj.bias, key)):
        bias[: heads * len(one_head)] = (_SHARPNESS * one_head).repeat(heads)
