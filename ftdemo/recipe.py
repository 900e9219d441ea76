"""`Recipe`: the whole of what decides a run. The same recipe gives the same run, wherever it is read from.

A recipe may not hold anything that only decides how a run is shown or where it is stored.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from ftdemo.data.files import with_home
from ftdemo.errors import RecipeError, describe_problem
from ftdemo.methods import METHODS, Method
from ftdemo.models.catalog import BUNDLED_MODELS, NEW, known_learning_rate
from ftdemo.models.shapes import as_targets

_SOME_READ = ("rank", "alpha", "rank_stabilized", "lr_ratio", "targets", "width", "layers", "vocabulary")
"""Keys that a method has to list among its own to read them."""
_LONGER_ANSWERS = {"replies": 128, "story-requests": 400, "ship-logs": 224}
"""How long the answers of a data set become, in tokens of the models that they are for."""


def _method_of(values: Mapping[str, Any]) -> Method:
    return METHODS[values.get("method", "lora")]


def _of_method(key: str, otherwise: Any) -> Any:
    """A default that follows from the recipe's method."""
    return lambda values: _method_of(values).defaults.get(key, otherwise)


def _default_lr(values: Mapping[str, Any]) -> float | None:
    """The learning rate that is known to suit method and model; none where the model's size has to be seen first."""
    method = _method_of(values)
    if rate := method.defaults.get("lr"):
        return float(rate)
    known = known_learning_rate(values.get("model", "tiny"), method.rate_family, method.rate_factor)
    return known.value if known else None


def _registered(name: str) -> str:
    if name not in METHODS:
        raise PydanticCustomError("method", f"Input should be one of {', '.join(map(repr, METHODS))}")
    return name


def _read_targets(targets: Any) -> Any:
    try:
        return as_targets(targets) if isinstance(targets, str) else targets
    except ValueError as error:
        raise PydanticCustomError("targets", _WRONG_TARGETS, {"reason": str(error)}) from None


_WRONG_TARGETS = "Input should be all-linear, names separated by commas, or a regular expression; it is {reason}"


class Recipe(BaseModel):
    """One run, in full. Every key has a default; each key's description is its comment in YAML."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Annotated[str, AfterValidator(_registered)] = Field(
        "lora", description="training method: which weights are trained, and beside which"
    )
    model: Annotated[str, AfterValidator(with_home)] = Field(
        default_factory=_of_method("model", "tiny"),
        description="model: tiny, nano, smollm2, minilm, new, a Hub id or a folder",
        min_length=1,
    )
    weights: Literal["pretrained", "random"] = Field(
        default_factory=_of_method("weights", "pretrained"), description="start from pre-trained or from random weights"
    )
    data: Annotated[str, AfterValidator(with_home)] = Field(
        default_factory=_of_method("data", "short-tickets"),
        description="built-in data set, file, folder (train.jsonl, or texts) or Hub id",
        min_length=1,
    )
    examples: int | None = Field(None, ge=1, description="use only the first N training examples")
    train_on: Literal["completion", "all"] = Field(
        default_factory=_of_method("train_on", "completion"),
        description="compute the loss on completions only, or on all tokens",
    )
    train_stop: bool = Field(True, description="train the stop token at the end of each completion, too")
    seed: int = Field(0, ge=0, lt=2**32, description="seed of new weights and of the order of examples")
    epochs: float = Field(1.0, gt=0, le=1000, description="passes over the training examples")
    max_steps: int | None = Field(None, ge=1, description="stop after this many steps, even within an epoch")
    batch_tokens: int = Field(512, ge=16, le=2**20, description="tokens per batch, padding included")
    accumulate: int = Field(1, ge=1, le=4096, description="batches whose gradients are summed for one step")
    packing: bool = Field(
        default_factory=_of_method("packing", False),
        description="pack several texts into one row, each blind to the others",
    )
    max_length: int = Field(
        default_factory=_of_method("max_length", 512),
        ge=8,
        le=131072,
        description="tokens that are kept of each example",
    )
    lr: float | None = Field(
        default_factory=_default_lr,
        gt=0,
        le=1,
        description="peak learning rate; null: usual for the model's size",
    )
    optimizer: Literal["adamw", "muon"] = Field(
        "adamw", description="optimizer; muon: hidden matrices by Muon, other weights by AdamW"
    )
    schedule: Literal["constant", "linear", "cosine"] = Field("linear", description="how the learning rate falls")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps in which the learning rate rises")
    weight_decay: float = Field(0.0, ge=0, le=1, description="decoupled weight decay of AdamW, on matrices")
    rank: int = Field(default_factory=_of_method("rank", 8), ge=1, le=1024, description="rank r of the update B A")
    alpha: float = Field(16.0, gt=0, le=4096, description="scale the update by alpha / rank")
    rank_stabilized: bool = Field(False, description="scale the update by alpha / sqrt(rank) instead (rsLoRA)")
    lr_ratio: float = Field(1.0, ge=1, le=1024, description="train B with this many times the learning rate (LoRA+)")
    targets: Annotated[str | tuple[str, ...], BeforeValidator(_read_targets)] = Field(
        "all-linear", description="matrices that get an adapter: all-linear, names, or a regular expression"
    )
    width: int = Field(128, ge=32, le=8192, multiple_of=32, description="hidden size of a new model")
    layers: int = Field(4, ge=1, le=256, description="number of layers of a new model")
    vocabulary: int = Field(1024, ge=320, le=2**18, description="number of tokens in a new model's tokenizer")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="number format of matrix products; auto: by the device"
    )
    attention: Literal["auto", "ftdemo", "sdpa", "eager"] = Field(
        "auto", description="attention kernel; auto: by model, device and length of the examples"
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="device to train on")
    eval_every: int | None = Field(20, ge=1, description="steps between evaluations of the held-out loss")
    patience: int | None = Field(None, ge=1, description="stop after this many evaluations without a lower loss")
    save_every: int | None = Field(None, ge=1, description="steps between checkpoints")
    sample_every: int | None = Field(None, ge=1, description="steps between answers to the held-out prompts")
    answer_tokens: int = Field(
        default_factory=lambda values: _LONGER_ANSWERS.get(values.get("data", ""), 96),
        ge=1,
        le=4096,
        description="maximum tokens per answer",
    )
    sample_prompts: int = Field(12, ge=0, le=1000, description="number of held-out prompts to answer")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _explain(error) from None
        _refuse_impossible(self)

    @property
    def peak_lr(self) -> float:
        """The peak learning rate, as a number.

        Raises:
            RecipeError: If it is left to the model's size, which `prepare` sees first.
        """
        if self.lr is None:
            raise RecipeError("`lr` is null: it follows from the model.", "Set `lr`, or prepare the recipe first.")
        return self.lr

    @property
    def is_low_rank(self) -> bool:
        """Whether an adapter is trained next to frozen weights."""
        return METHODS[self.method].is_low_rank

    @property
    def is_classifier(self) -> bool:
        """Whether the model has a head that sorts texts, instead of one that continues them."""
        return METHODS[self.method].is_classifier

    @property
    def starts_new(self) -> bool:
        """Whether the model and its tokenizer are new."""
        return METHODS[self.method].starts_new

    @classmethod
    def from_yaml(cls, path: Path) -> Recipe:
        """Read a recipe; with a key `from`, the named recipe that it changes.

        Raises:
            RecipeError: If the file cannot be read, is no YAML mapping, or holds an unknown key or a wrong value.
        """
        values = _read_mapping(path)
        if (start := values.pop("from", None)) is None:
            return cls(**values)
        if not isinstance(start, str) or not (_FOLDER / f"{start}.yaml").is_file():
            known = ", ".join(NAMED)
            raise RecipeError(f"{path}: `from` is {start!r}, which is no recipe of ftdemo.", f"Name one of: {known}.")
        return _read_named(start).with_settings(values)

    @classmethod
    def from_record(cls, values: Mapping[str, Any]) -> Recipe:
        """The recipe that a run recorded, without keys that recipes no longer have."""
        return cls(**{key: value for key, value in values.items() if key in cls.model_fields})

    def with_settings(self, settings: Mapping[str, Any]) -> Recipe:
        """This recipe with some keys changed, checked as a whole."""
        return Recipe(**{**self.model_dump(exclude_unset=True), **settings})

    def to_yaml(self) -> str:
        """The recipe as YAML, every key with its comment."""
        lines = []
        for name, value in self.model_dump(mode="json").items():
            scalar = yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()
            lines.append(f"{name + ': ' + scalar:<28}  # {type(self).model_fields[name].description}")
        return "\n".join(lines) + "\n"


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        values, repeated = yaml.safe_load(text), _repeated_key(text)
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror or error}.", "Check the path and its permissions.") from None
    except UnicodeDecodeError:
        raise RecipeError(f"{path}: not a text file in UTF-8.", "A recipe is a YAML file.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        line = f"{path}:{where.line + 1}" if where else str(path)
        raise RecipeError(f"{line}: not valid YAML.", "Each line should read `key: value`.") from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise RecipeError(f"{path}: a recipe is a mapping.", "Write one `key: value` a line, `rank: 8` say.")
    if repeated:  # YAML takes the last one without a word
        key, number = repeated
        raise RecipeError(f"{path}:{number}: `{key}` is given twice.", "Give it once.")
    return values


def _repeated_key(text: str) -> tuple[str, int] | None:
    """The first key of a YAML mapping that was there before, and its line."""
    root, seen = yaml.compose(text, Loader=yaml.SafeLoader), set()
    for key, _value in root.value if isinstance(root, yaml.MappingNode) else ():
        if key.value in seen:
            return str(key.value), key.start_mark.line + 1
        seen.add(key.value)
    return None


def _explain(error: ValidationError) -> RecipeError:
    """The first thing that is wrong with a recipe, and how to fix it."""
    problem = error.errors(include_url=False)[0]
    key = str(problem["loc"][0]) if problem["loc"] else "recipe"
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, Recipe.model_fields, n=1)
        known = ", ".join(Recipe.model_fields)
        remedy = f"Did you mean `{near[0]}`?" if near else f"The keys are: {known}."
        return RecipeError(f"The recipe has no key `{key}`.", remedy)
    description = Recipe.model_fields[key].description
    return RecipeError(f"{describe_problem(problem, key)}.", f"`{key}`: {description}.")


def _refuse_impossible(recipe: Recipe) -> None:
    """Refuse keys that contradict each other.

    Raises:
        RecipeError: With both keys, their values and a way out.
    """
    method, name = METHODS[recipe.method], recipe.method
    unread = next((key for key in _changed(recipe, *_SOME_READ) if key not in method.keys), "")
    resized = next(iter(_changed(recipe, "width", "layers", "vocabulary")), "")
    readers = ", ".join(each.name for each in METHODS.values() if unread in each.keys)
    rules = [
        (
            recipe.model == NEW and not method.starts_new,
            f"`model` is new, but `method` is {name}, which needs a model that has learnt something.",
            "Set `method: scratch`, or name a pre-trained model.",
        ),
        (
            recipe.weights == "random" and not (method.starts_new or method.is_classifier),
            f"`weights` is random, but `method` is {name}.",
            "Training a language model from random weights is `method: scratch`.",
        ),
        (
            recipe.weights == "pretrained" and method.starts_new,
            f"`weights` is pretrained, but `method` is {name}, which starts from random weights.",
            "Set `method: full` to continue from pre-trained ones.",
        ),
        (
            recipe.optimizer not in method.optimizers,
            f"`optimizer` is {recipe.optimizer}, but `method` is {name}, which does not train all weights of a "
            "language model.",
            "Set `optimizer: adamw`, or `method` to full or scratch.",
        ),
        (
            bool(resized) and recipe.model != NEW,
            f"`{resized}` is set, but `model` is {recipe.model}, whose size is given.",
            "Leave it out, or set `model: new` and `method: scratch`.",
        ),
        (
            bool(unread),
            f"`{unread}` is set, but `method` is {name}, which does not read it.",
            f"Leave it out, or set `method` to one of {readers}.",
        ),
        (
            recipe.packing and method.is_classifier,
            f"`packing` is true, but `method` is {name}, which needs a text a row.",
            "Set `packing: false`.",
        ),
        (
            recipe.packing and recipe.batch_tokens < recipe.max_length,
            f"`batch_tokens` is {recipe.batch_tokens}, less than one packed row of {recipe.max_length} (`max_length`).",
            "Raise `batch_tokens`, or lower `max_length`.",
        ),
        (
            recipe.patience is not None and recipe.eval_every is None,
            "`patience` is set, but `eval_every` is null: there is no evaluation to wait for.",
            "Set `eval_every` to a number of steps.",
        ),
    ]
    for broken, what, remedy in rules:
        if broken:
            raise RecipeError(what, remedy)


def _changed(recipe: Recipe, *keys: str) -> list[str]:
    """Those of the keys whose value is not the default one."""
    plain = {key: METHODS[recipe.method].defaults.get(key, _DEFAULTS[key]) for key in keys}
    return [key for key in keys if getattr(recipe, key) != plain[key]]


_DEFAULTS = {key: info.default for key, info in Recipe.model_fields.items()} | {"rank": 8}
_FOLDER = Path(__file__).parent / "recipes"
_LARGER = ".larger"
"""How the name of a file ends that has a recipe for larger models than the bundled ones."""


@cache
def _read_named(stem: str) -> Recipe:
    return Recipe.from_yaml(_FOLDER / f"{stem}.yaml")


class _Named(Mapping[str, Recipe]):
    """The recipes in ftdemo/recipes, and one with its defaults for each method that has none there."""

    def __getitem__(self, name: str) -> Recipe:
        if (_FOLDER / f"{name}.yaml").is_file():
            return _read_named(name)
        if name not in METHODS:
            raise KeyError(name)
        return Recipe(method=name)

    def __iter__(self) -> Iterator[str]:
        files = [path.stem for path in sorted(_FOLDER.glob("*.yaml")) if not path.stem.endswith(_LARGER)]
        yield from dict.fromkeys([*METHODS, *files])

    def __len__(self) -> int:
        return len(list(iter(self)))


NAMED: Mapping[str, Recipe] = _Named()
"""Recipes that have a name."""


def named(name: str, model: str | None = None) -> Recipe:
    """The recipe of that name, for the model that is wanted.

    Raises:
        KeyError: If there is no such recipe.
    """
    recipe = NAMED[name]
    if model is None or model in BUNDLED_MODELS or recipe.model not in BUNDLED_MODELS:
        return recipe
    larger = f"{name}{_LARGER}"
    recipe = _read_named(larger) if (_FOLDER / f"{larger}.yaml").is_file() else recipe
    return recipe.with_settings({"model": model})


def recipe_of(what: str, changes: Mapping[str, Any]) -> Recipe:
    """A named recipe, or one from a file, with some keys changed.

    Args:
        what: The name of one of ours, or a file.
        changes: Values that differ from it, by key.

    Raises:
        RecipeError: If there is none of that name, or it cannot be carried out.
    """
    changed = dict(changes)
    if what in NAMED:
        if "data" in changed:
            changed.setdefault("examples", None)  # the named recipe's limit was chosen for its own data
        return named(what, changed.get("model")).with_settings(changed)
    if what.endswith((".yaml", ".yml")):
        return Recipe.from_yaml(Path(what)).with_settings(changed)
    known = ", ".join(NAMED)
    raise RecipeError(f"No recipe called {what}.", f"Name one of ours ({known}) or a file that ends in .yaml.")
