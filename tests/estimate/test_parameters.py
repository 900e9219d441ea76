from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest
import torch
import transformers as hf
from conftest import LLAMA_2_70B
from peft import LoraConfig, get_peft_model

from ftdemo.errors import RecipeError
from ftdemo.estimate.parameters import Counts, parameter_counts

SMOLLM2 = hf.LlamaConfig(
    vocab_size=49152,
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    tie_word_embeddings=True,
)
GPT_3_175B = hf.OPTConfig(
    vocab_size=50257,
    hidden_size=12288,
    word_embed_proj_dim=12288,
    ffn_dim=49152,
    num_hidden_layers=96,
    num_attention_heads=96,
)
"""GPT-3's dimensions (Brown et al. 2020, table 2.1) in an architecture with separate query and value matrices."""
ROBERTA_BASE = hf.RobertaConfig(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1)

SMALL: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
GROUPED = SMALL | {"num_key_value_heads": 2, "head_dim": 8}
CAUSAL: dict[str, hf.PretrainedConfig] = {
    "llama": hf.LlamaConfig(**GROUPED),
    "llama, tied": hf.LlamaConfig(**GROUPED, tie_word_embeddings=True),
    "mistral": hf.MistralConfig(**GROUPED),
    "qwen2": hf.Qwen2Config(**GROUPED),
    "qwen3": hf.Qwen3Config(**GROUPED),
    "gemma2": hf.Gemma2Config(**GROUPED),
    "phi": hf.PhiConfig(**SMALL),
    "phi3": hf.Phi3Config(**SMALL, num_key_value_heads=2, pad_token_id=0),
    "gpt_neox": hf.GPTNeoXConfig(**SMALL),
    "gpt2": hf.GPT2Config(vocab_size=96, n_embd=32, n_layer=2, n_head=4),
    "gptj": hf.GPTJConfig(vocab_size=96, n_embd=32, n_layer=2, n_head=4, rotary_dim=4),
    "opt": hf.OPTConfig(
        vocab_size=96, hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4, word_embed_proj_dim=16
    ),
    "falcon": hf.FalconConfig(vocab_size=96, hidden_size=32, num_hidden_layers=2, num_attention_heads=4),
    "bloom": hf.BloomConfig(vocab_size=96, hidden_size=32, n_layer=2, n_head=4),
    "mpt": hf.MptConfig(vocab_size=96, d_model=32, n_layers=2, n_heads=4),
    "bert": hf.BertConfig(**SMALL, is_decoder=True),
    "roberta": hf.RobertaConfig(**SMALL, is_decoder=True),
    "electra": hf.ElectraConfig(**SMALL, embedding_size=16, is_decoder=True),
}
BARE: dict[str, hf.PretrainedConfig] = {
    "bert": hf.BertConfig(**SMALL),
    "roberta": hf.RobertaConfig(**SMALL),
    "distilbert": hf.DistilBertConfig(vocab_size=96, dim=32, hidden_dim=48, n_layers=2, n_heads=4),
    "electra": hf.ElectraConfig(**SMALL, embedding_size=16),
    "mpnet": hf.MPNetConfig(**SMALL),
    "deberta": hf.DebertaConfig(**SMALL, relative_attention=True, pos_att_type=["c2p", "p2c"]),
    "deberta-v2": hf.DebertaV2Config(**SMALL, relative_attention=True, pos_att_type=["c2p", "p2c"]),
    "albert": hf.AlbertConfig(**SMALL, embedding_size=16),
    "modernbert": hf.ModernBertConfig(**SMALL, pad_token_id=0),
    "t5": hf.T5Config(vocab_size=96, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4),
}
EVERY_ARCHITECTURE = [
    pytest.param(config, head, id=f"{name} {'with head' if head else 'bare'}")
    for configs, head in ((CAUSAL, True), (CAUSAL, False), (BARE, False))
    for name, config in configs.items()
]


def by_peft(
    config: hf.PretrainedConfig, head: bool, *, targets: str | Sequence[str] = "all-linear", dora: bool = False
) -> Counts:
    """What PEFT itself makes. DoRA's magnitudes are then in `lora_magnitude_vector.default.weight` of each layer."""
    with torch.device("meta"):
        model = (hf.AutoModelForCausalLM if head else hf.AutoModel).from_config(config)  # type: ignore[no-untyped-call]
        total = sum(weight.numel() for weight in model.parameters())
        targets = targets if isinstance(targets, str) else list(targets)
        adapted = get_peft_model(model, LoraConfig(r=3, target_modules=targets, use_dora=dora))
    return Counts(total, sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("config", "head"), EVERY_ARCHITECTURE)
def test_the_formula_counts_what_peft_makes(config: hf.PretrainedConfig, head: bool) -> None:
    lora = parameter_counts(config, rank=3, head=head)
    assert lora == parameter_counts(config, method="qlora", rank=3, head=head) == by_peft(config, head)
    assert parameter_counts(config, method="dora", rank=3, head=head) == by_peft(config, head, dora=True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize(
    ("name", "targets"),
    [
        ("llama", ["q_proj", "v_proj"]),
        ("llama", ["layers.1.self_attn.q_proj"]),
        ("llama", ["embed_tokens", "lm_head"]),
        ("llama", "ALL-LINEAR"),
        ("llama", r".*\.1\.mlp\.(up|down)_proj"),
        ("gpt2", ["c_attn"]),
        ("gpt2", ["wte", "c_proj"]),
        ("bloom", r"transformer\.h\.0\..*query_key_value"),
        ("bert", ["query", "attention.output.dense"]),
        ("opt", ["project_in", "fc1"]),
    ],
)
def test_targets_are_read_as_peft_reads_them(name: str, targets: str | list[str], dora: bool) -> None:
    ours = parameter_counts(CAUSAL[name], method="dora" if dora else "lora", rank=3, targets=targets)
    assert ours == by_peft(CAUSAL[name], head=True, targets=targets, dora=dora)


def test_smollm2_has_the_known_counts() -> None:
    assert parameter_counts(SMOLLM2) == Counts(total=134_515_008, trainable=2_442_240)
    assert parameter_counts(SMOLLM2, method="full") == Counts(total=134_515_008, trainable=134_515_008)
    assert parameter_counts(SMOLLM2).share == pytest.approx(0.01816, abs=1e-5)


def test_tied_weights_count_once() -> None:
    untied = hf.LlamaConfig.from_dict(SMOLLM2.to_dict() | {"tie_word_embeddings": False})
    assert parameter_counts(untied).total - parameter_counts(SMOLLM2).total == 49152 * 576
    assert parameter_counts(untied).trainable == parameter_counts(SMOLLM2).trainable


def test_roberta_base_has_the_count_of_the_lora_paper() -> None:
    assert parameter_counts(ROBERTA_BASE, targets=["query", "value"], head=False) == Counts(124_645_632, 294_912)


@pytest.mark.parametrize(("rank", "trainable"), [(1, 4_718_592), (8, 37_748_736)])
def test_gpt_3_has_the_counts_of_the_lora_paper(rank: int, trainable: int) -> None:
    counts = parameter_counts(GPT_3_175B, rank=rank, targets=["q_proj", "v_proj"])
    assert counts.trainable == trainable
    assert round(counts.total / 1e9) == 175


def test_gpt_2_medium_has_the_count_of_the_formula() -> None:
    # Hu et al. 2021, table 3 prints 0.35M for this; the formula gives 0.39M.
    separate = hf.OPTConfig(
        hidden_size=1024, word_embed_proj_dim=1024, ffn_dim=4096, num_hidden_layers=24, num_attention_heads=16
    )
    assert parameter_counts(separate, rank=4, targets=["q_proj", "v_proj"]).trainable == 393_216
    # GPT-2 keeps query, key and value in one matrix of d x 3d; r (d + 3d) happens to equal 2 r (d + d).
    fused = hf.GPT2Config(n_embd=1024, n_layer=24, n_head=16)
    assert parameter_counts(fused, rank=4, targets=["c_attn"]).trainable == 393_216


def test_a_70_billion_model_is_counted_in_seconds() -> None:
    start = time.process_time()
    counts = parameter_counts(LLAMA_2_70B, rank=16)
    assert time.process_time() - start < 10
    assert counts == Counts(total=68_976_648_192, trainable=207_093_760)


def test_dora_adds_a_magnitude_for_each_output_row() -> None:
    lora, dora = (parameter_counts(SMOLLM2, method=method, targets=["k_proj"]) for method in ("lora", "dora"))
    assert dora.trainable - lora.trainable == 30 * 192


def test_constant_positions_do_not_move() -> None:
    counts = parameter_counts(hf.RoFormerConfig(**SMALL, embedding_size=16, max_position_embeddings=64), method="full")
    assert counts.total - counts.trainable == 64 * 32 // 4


def test_without_the_head_the_bare_model_is_counted() -> None:
    electra = CAUSAL["electra"]
    assert parameter_counts(electra).total > parameter_counts(electra, head=False).total
    mpnet = BARE["mpnet"]  # transformers has no causal model of it
    assert parameter_counts(mpnet) == parameter_counts(mpnet, head=False)


def test_an_encoder_decoder_is_counted_whole() -> None:
    assert parameter_counts(hf.BartConfig()) == parameter_counts(hf.BartConfig(), head=False)


def test_the_configuration_is_not_changed() -> None:
    before = SMOLLM2.to_dict()
    parameter_counts(SMOLLM2)
    assert SMOLLM2.to_dict() == before


@pytest.mark.parametrize("targets", ["q_proj,v_proj", "q_proj , v_proj", r".*\.(q|v)_proj", ("q_proj", "v_proj")])
def test_names_a_text_of_names_and_a_pattern_are_the_same_targets(targets: str | tuple[str, ...]) -> None:
    counted = parameter_counts(CAUSAL["llama"], targets=targets)
    assert counted == parameter_counts(CAUSAL["llama"], targets=["q_proj", "v_proj"])
    assert parameter_counts(CAUSAL["llama"], targets="q_proj") == parameter_counts(CAUSAL["llama"], targets=["q_proj"])


@pytest.mark.parametrize("targets", [["c_attn"], "c_attn", "c_attn, c_proj", "q_proj|v_proj", []])
def test_targets_that_name_nothing_are_refused_with_those_that_are_there(targets: str | list[str]) -> None:
    with pytest.raises(RecipeError, match=r"(?s)`targets` is .*names no matrix.*all-linear.*q_proj") as refused:
        parameter_counts(CAUSAL["llama"], targets=targets)
    assert "lm_head" not in refused.value.remedy  # usually the embedding, too


def test_targets_that_are_no_matrix_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"also names model\.layers\.0\.self_attn, .* a LlamaAttention"):
        parameter_counts(CAUSAL["llama"], targets=["q_proj", "self_attn"])


def test_a_string_that_is_no_regular_expression_is_refused() -> None:
    with pytest.raises(RecipeError, match="not a regular expression"):
        parameter_counts(CAUSAL["llama"], targets="*.q_proj")


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "gate_proj"], r".*\.(q|up)_proj"])
def test_stacked_experts_are_refused(targets: str | list[str]) -> None:
    config = hf.Qwen3MoeConfig(**GROUPED, num_experts=4, moe_intermediate_size=16)
    with pytest.raises(RecipeError, match=r"(?s)includes model\.layers\.0\.mlp\.experts.*q_proj"):
        parameter_counts(config, targets=targets)


@pytest.mark.filterwarnings("ignore")
def test_attention_beside_stacked_experts_is_counted() -> None:
    config = hf.Qwen3MoeConfig(**GROUPED, num_experts=4, moe_intermediate_size=16)
    assert parameter_counts(config, rank=3, targets=["q_proj"]) == by_peft(config, head=True, targets=["q_proj"])


@pytest.mark.parametrize("rank", [0, -1])
def test_a_rank_below_1_is_refused(rank: int) -> None:
    with pytest.raises(RecipeError, match="at least 1"):
        parameter_counts(CAUSAL["llama"], rank=rank)


def test_a_rank_beyond_the_smallest_matrix_is_refused() -> None:
    assert parameter_counts(SMOLLM2, rank=192).trainable == 192 * 2_442_240 // 8
    with pytest.raises(RecipeError, match="`rank` is 193, but the smallest targeted matrix has only rank 192"):
        parameter_counts(SMOLLM2, rank=193)


def test_an_unknown_method_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(RecipeError, match=r"(?s)`method` is 'ia3'.*full, lora, dora, qlora"):
        parameter_counts(SMOLLM2, method="ia3")


def test_a_model_without_weights_leaves_the_number_format_of_other_threads_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else a training beside it would make its tensors in the format of that model."""
    formats: list[torch.dtype] = []
    monkeypatch.setattr(torch, "set_default_dtype", formats.append)
    config = hf.LlamaConfig(**GROUPED, dtype="bfloat16")
    assert parameter_counts(config, method="full").total > 0
    assert set(formats) <= {torch.float32}
