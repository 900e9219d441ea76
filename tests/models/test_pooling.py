"""Pooling by the mean: which vectors count, which models take part, and whose head is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, DistilBertConfig, LlamaConfig
from transformers import DistilBertForSequenceClassification as DistilBert
from transformers import LlamaForSequenceClassification as Llama

from ftdemo.models.load import load_classifier, load_saved, load_tokenizer, resolve
from ftdemo.models.pooling import classification_head, has_mean_pooling, mean_of_tokens, use_mean_pooling

SMALL = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_labels": 3}
IDS = torch.tensor([[5, 6, 7, 0, 0], [8, 9, 10, 11, 12]])
MASK = (IDS > 0).long()


@pytest.mark.parametrize(("kind", "config"), [(BertForSequenceClassification, BertConfig), (Llama, LlamaConfig)])
def test_a_text_gets_the_same_logits_alone_and_padded_beside_a_longer_one(kind: Any, config: Any) -> None:
    torch.manual_seed(0)
    model = kind(config(**SMALL, intermediate_size=64, pad_token_id=0)).eval()
    own = model(input_ids=IDS, attention_mask=MASK).logits
    use_mean_pooling(model)
    with torch.no_grad():
        both = model(input_ids=IDS, attention_mask=MASK).logits
        alone = model(input_ids=IDS[:1, :3], attention_mask=MASK[:1, :3]).logits
        hidden = model.base_model(IDS[:1, :3]).last_hidden_state
    assert torch.allclose(both[:1], alone, atol=1e-5)
    assert torch.allclose(alone, classification_head(model)(hidden.mean(1)), atol=1e-5)
    assert not torch.allclose(both, own, atol=1e-3)
    assert has_mean_pooling(model)


def test_the_mean_leaves_padding_out() -> None:
    hidden = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [100.0, 100.0]]])
    assert mean_of_tokens(hidden, torch.tensor([[1, 1, 0]])).tolist() == [[2.0, 3.0]]


def test_a_model_whose_head_is_more_than_one_layer_keeps_its_own_way() -> None:
    config = DistilBertConfig(vocab_size=64, dim=32, n_layers=1, n_heads=2, hidden_dim=64)
    model = DistilBert(config)
    use_mean_pooling(model)
    assert not has_mean_pooling(model)
    assert "forward" not in vars(model)


LABELS = ("delivery", "payments", "returns")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A classifier that pools by the mean, as a run leaves it."""
    source = resolve("nano")
    tokenizer = load_tokenizer(source)
    torch.manual_seed(0)
    model = load_classifier(source, LABELS, tokenizer)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


def test_a_saved_classifier_pools_as_it_did_when_it_is_loaded_again(saved: Path) -> None:
    source = resolve(str(saved))
    assert has_mean_pooling(load_saved(source, LABELS))
    model = load_classifier(source, LABELS, load_tokenizer(source))
    assert "forward" in vars(model)


@pytest.mark.parametrize(
    ("labels", "kept"), [(LABELS, True), (("delivery", "payments", "website"), False), (LABELS[:2], False)]
)
def test_a_head_is_kept_where_its_labels_are_the_same(labels: tuple[str, ...], kept: bool, saved: Path) -> None:
    source = resolve(str(saved))
    before = classification_head(load_saved(source, LABELS)).weight
    torch.manual_seed(1)
    after = classification_head(load_classifier(source, labels, load_tokenizer(source))).weight
    assert after.shape[0] == len(labels)
    assert (after.shape == before.shape and torch.equal(after, before)) == kept
    assert 0 < after.std() < 0.1
