"""Reading a run from disk: its record, and its model ready to answer. `ftdemo.runs.perform` writes it."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftdemo import __version__, events
from ftdemo.data import BUILT_IN
from ftdemo.data.row_hashes import RowHashes
from ftdemo.errors import ModelError, UsageError, first_line
from ftdemo.evaluation.generate import REPLY_TOKENS
from ftdemo.events import Event, Sampled
from ftdemo.methods import METHODS
from ftdemo.methods.start import Base
from ftdemo.models import load as models
from ftdemo.models.layers import use_fused_adapters
from ftdemo.models.tokenizer import read_tokenizer
from ftdemo.recipe import Recipe

if TYPE_CHECKING:
    import torch

RECORD = "run.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
_LIBRARIES = ("torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors")


@dataclass(frozen=True)
class Run:
    """A run on disk."""

    folder: Path
    record: dict[str, Any]

    @classmethod
    def load(cls, folder: Path) -> Run:
        """Read a run's record.

        Raises:
            UsageError: If there is no run in the folder.
        """
        try:
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            if not {"recipe", "model", "events"} <= set(record):
                raise ValueError
        except (OSError, ValueError, TypeError):
            what = f"{folder} holds no run: {RECORD} is missing or cannot be read."
            raise UsageError(what, "Name a folder that `ftdemo train` wrote.") from None
        return cls(folder, record)

    @property
    def recipe(self) -> Recipe:
        """The recipe that was carried out."""
        return Recipe.from_record(self.record["recipe"])

    @property
    def events(self) -> list[Event]:
        """The run's events, in order."""
        return [events.from_dict(event) for event in self.record["events"]]

    @property
    def row_hashes(self) -> RowHashes | None:
        """Which rows were trained on and held out. Runs of version 0.1 do not say."""
        rows = self.record.get("rows")
        return RowHashes.from_dict(rows) if rows else None

    def samples(self) -> tuple[Sampled | None, Sampled | None]:
        """The answers before the first and after the last step, where they were recorded."""
        found = [event for event in self.events if isinstance(event, Sampled)]
        before = next((sample for sample in found if sample.step == 0), None)
        return before, next((sample for sample in reversed(found) if sample.step > 0), None)

    @models.one_at_a_time
    def load_model(self, base: str | None = None, dtype: torch.dtype | None = None) -> tuple[Any, Any]:
        """The tuned model and its tokenizer, ready to answer.

        Args:
            base: Another place to take the base model of an adapter from.
            dtype: A number format for that base, if not that of the run; a quantized base is unpacked.

        Raises:
            UsageError: If that base has another vocabulary or other weights than the adapter was trained on.
        """
        models.quiet_transformers()
        tokenizer = read_tokenizer(self.folder, str(self.folder))
        if self.recipe.is_low_rank:
            return self._load_adapted(base, dtype), tokenizer
        trained = models.Source(name=self.folder.name, path=str(self.folder), origin="a run", sha256="")
        return models.load_saved(trained, self.labels).train(False), tokenizer

    @property
    def has_base(self) -> bool:
        """Whether training started from a model that can be evaluated like the trained one."""
        return self.recipe.weights != "random" and not self.recipe.is_classifier

    def refuse_lost_base(self, remedy: str) -> None:
        """Refuse to go on without the folder that the base was in. The Hub may know another model by its name.

        Args:
            remedy: What to do about it.

        Raises:
            ModelError: If the base was in a folder that is no longer there.
        """
        model = self.recipe.model
        if self.record["model"].get("origin") == models.LOCAL_FOLDER and not Path(model).is_dir():
            what = f"{self.folder} was trained on the model in {model}, and there is no such folder."
            raise ModelError(what, remedy)

    def load_base(self, base: str | None = None) -> tuple[Any, Any] | None:
        """The model before training and its tokenizer, or nothing if it was random."""
        if not self.has_base:
            return None
        return models.load_found(self.find_base(base))

    @property
    def reply_tokens(self) -> int:
        """The longest reply in a chat, in tokens: as the recipe says, or more."""
        return max(self.recipe.answer_tokens, REPLY_TOKENS)

    @property
    def corpus(self) -> str | None:
        """The generated data set that the model was pre-trained on, before this run or in it."""
        corpus = self.record["model"].get("corpus")
        return str(corpus) if corpus in BUILT_IN else None

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes of a classifier, in the order of its outputs."""
        return tuple(self.record.get("labels", ()))

    def find_base(self, base: str | None = None) -> models.Source:
        """The base model that the run was trained on.

        Args:
            base: Where the user says that it is, if they do.

        Raises:
            ModelError: If it is not there.
        """
        if not base:
            self.refuse_lost_base(models.NAME_BASE)
        return models.resolve_base(self.recipe.model, self.folder, base)

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the run's matrix products."""
        import torch

        return getattr(torch, self.record["dtype"])  # type: ignore[no-any-return]

    def _load_adapted(self, base: str | None, dtype: torch.dtype | None) -> Any:
        import torch
        from peft import PeftModel

        source = self.find_base(base)
        tokenizer = models.load_tokenizer(source)
        self._refuse_other_base(source, tokenizer)
        method = METHODS[self.recipe.method]
        model = method.load(Base(self.recipe, source, tokenizer, dtype or self.dtype, torch.device("cpu")))
        if dtype is not None and models.is_quantized(model):
            model = models.unpacked(model, dtype)
        with reading_adapter(self.folder, source.name):
            adapted = PeftModel.from_pretrained(model, self.folder)
        use_fused_adapters(adapted)
        return adapted.eval()

    def _refuse_other_base(self, source: models.Source, tokenizer: Any) -> None:
        trained_on = self.record["model"]
        vocabulary = trained_on.get("vocabulary")  # records of version 1 have none
        if vocabulary and vocabulary != models.vocabulary_hash(tokenizer):
            raise UsageError(
                f"{self.folder}: the adapter was trained on {trained_on['name']}, whose vocabulary is not that of "
                f"{source.name} in {source.path}.",
                "The same token id would mean another word. Use the base it was trained on, or train again.",
            )
        if source.sha256 != trained_on["sha256"]:
            raise UsageError(
                f"{self.folder}: the adapter was trained on other weights of {source.name} than those found here.",
                f"Get the weights whose SHA-256 is {trained_on['sha256']}, or train again.",
            )


@contextmanager
def reading_adapter(folder: Path, base: str) -> Iterator[None]:
    """Within this, PEFT reads the adapter in a folder for a base.

    Raises:
        UsageError: If its weights are not there as safetensors, cannot be read, or do not fit the base.
    """
    from safetensors import SafetensorError

    weights = folder / ADAPTER_WEIGHTS
    if not weights.is_file():  # PEFT would take a pickle instead, or ask the Hub
        raise UsageError(f"{folder} has no {ADAPTER_WEIGHTS}.", "Save the adapter as safetensors, or train again.")
    try:
        yield
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{weights} cannot be read: {first_line(error)}.", "Copy it again, or train again.") from None
    except (ValueError, TypeError, RuntimeError) as error:
        what = f"{folder}: the adapter does not fit {base}: {_reason(error)}"
        raise UsageError(what, "Name the base that it was trained on with `--base`.") from None


def _reason(error: Exception) -> str:
    """What is wrong; torch's first line only says in loading what."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return next((line for line in lines if not line.endswith(":")), type(error).__name__)


def versions() -> dict[str, str]:
    """The versions that decide a run's numbers."""
    libraries = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {"ftdemo": __version__, "python": platform.python_version()} | libraries
