"""`Recipe`: the whole of what decides a run. The same recipe gives the same run, wherever it is read from.

A recipe may not hold anything that only decides how a run is shown or where it is stored.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ftdemo.errors import RecipeError, describe_problem

_LOW_RANK = ("lora", "dora", "qlora")
_CLASSIFIERS = ("probe", "classify")
BUNDLED_MODELS = ("tiny", "nano")
"""Models of the house: pre-trained by this repository's own recipes, and shipped inside the package."""
Method = Literal["full", "lora", "dora", "qlora", "scratch", "probe", "classify"]


def _by_method(otherwise: Any, **special: Any) -> Any:
    """A default that follows from the recipe's method."""
    return lambda data: special.get(data.get("method", "lora"), otherwise)


def _default_data(values: Mapping[str, Any]) -> str:
    """What a method and a model are shown on: the small models of the house know no world but their own."""
    method, model = values.get("method", "lora"), values.get("model", "tiny")
    if method == "scratch":
        return "harbour-tales"
    if method in _CLASSIFIERS:
        return "shop-mail"
    if model in BUNDLED_MODELS:
        return "ship-logs" if method in _LOW_RANK else "story-requests"
    return "support-voice"


_ANSWER_TOKENS = {"story-requests": 400, "ship-logs": 224}
"""How long the answers of a data set become, in tokens of the models that they are for."""


def _default_lr(values: Mapping[str, Any]) -> float:
    """A peak learning rate that suits a method and a model: small models bear larger steps."""
    method, small = values.get("method", "lora"), values.get("model", "tiny") in BUNDLED_MODELS
    rates = {"scratch": 3e-3, "probe": 2e-2, "classify": 2e-4, "full": 1e-3 if small else 1e-4}
    return rates.get(method, 6e-3 if small else 4e-3)


class Recipe(BaseModel):
    """One run, in full. Every key has a default; each key's description is its comment in YAML."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Method = Field("lora", description="full, lora, dora, qlora, scratch, probe or classify")
    model: str = Field(
        default_factory=_by_method("tiny", scratch="new", probe="minilm", classify="minilm"),
        description="tiny, nano, smollm2, minilm, a Hub id (owner/name) or a folder; new: with scratch",
        min_length=1,
    )
    weights: Literal["pretrained", "random"] = Field(
        default_factory=_by_method("pretrained", scratch="random"), description="what training starts from"
    )
    data: str = Field(
        default_factory=_default_data,
        description="a built-in data set, a file, a folder with train.jsonl or of texts, a Hub id",
        min_length=1,
    )
    examples: int | None = Field(None, ge=1, description="use only the first N training rows")
    train_on: Literal["completion", "all"] = Field(
        default_factory=_by_method("completion", scratch="all"), description="which tokens of a chat have a loss"
    )
    train_stop: bool = Field(True, description="whether the stop token that ends an answer has a loss too")
    seed: int = Field(0, ge=0, lt=2**32, description="seeds new weights and the order of the rows")
    epochs: float = Field(1.0, gt=0, le=1000, description="passes over the training rows")
    max_steps: int | None = Field(None, ge=1, description="stop after this many steps, if that comes first")
    batch_tokens: int = Field(512, ge=16, le=2**20, description="tokens in a batch, padding included")
    accumulate: int = Field(1, ge=1, le=4096, description="batches whose gradients are summed for one step")
    packing: bool = Field(
        default_factory=_by_method(False, scratch=True),
        description="several texts in one row of max_length tokens, each blind to the others",
    )
    max_length: int = Field(
        default_factory=_by_method(512, scratch=256), ge=8, le=131072, description="tokens of a row that are kept"
    )
    lr: float = Field(
        default_factory=_default_lr,
        gt=0,
        le=1,
        description="peak learning rate",
    )
    optimizer: Literal["adamw", "muon"] = Field("adamw", description="muon: of all weights, hidden matrices by Muon")
    schedule: Literal["constant", "linear", "cosine"] = Field("linear", description="how the learning rate falls")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps in which the learning rate rises")
    weight_decay: float = Field(0.0, ge=0, le=1, description="decoupled weight decay of AdamW, on matrices")
    rank: int = Field(8, ge=1, le=1024, description="rank r of the update B A")
    alpha: float = Field(16.0, gt=0, le=4096, description="the update is scaled by alpha / rank")
    rank_stabilized: bool = Field(False, description="rsLoRA: scale by alpha / sqrt(rank) instead")
    lr_ratio: float = Field(1.0, ge=1, le=1024, description="LoRA+: B learns this many times faster than A")
    targets: str | tuple[str, ...] = Field("all-linear", description="the matrices that get an adapter")
    width: int = Field(128, ge=32, le=8192, multiple_of=32, description="hidden size of a new model")
    layers: int = Field(4, ge=1, le=256, description="layers of a new model")
    vocabulary: int = Field(1024, ge=320, le=2**18, description="tokens of a new model's own tokenizer")
    dtype: Literal["auto", "float32", "bfloat16"] = Field("auto", description="of matrix products; auto measures")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="where the model is placed")
    compile: bool = Field(False, description="torch.compile the layers: half a minute once, then a tenth faster")
    eval_every: int | None = Field(20, ge=1, description="steps between looks at the held-out loss")
    patience: int | None = Field(None, ge=1, description="looks without a better held-out loss before training stops")
    save_every: int | None = Field(None, ge=1, description="steps between checkpoints")
    sample_every: int | None = Field(None, ge=1, description="steps between answers to the held-out prompts")
    answer_tokens: int = Field(
        default_factory=lambda values: _ANSWER_TOKENS.get(values.get("data", ""), 96),
        ge=1,
        le=4096,
        description="tokens of an answer, at most",
    )
    sample_prompts: int = Field(12, ge=0, le=1000, description="held-out prompts that are answered")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _explain(error) from None
        _refuse_impossible(self)

    @property
    def is_low_rank(self) -> bool:
        """Whether an adapter is trained next to frozen weights."""
        return self.method in _LOW_RANK

    @property
    def is_classifier(self) -> bool:
        """Whether the model has a head that sorts texts, instead of one that continues them."""
        return self.method in _CLASSIFIERS

    @classmethod
    def from_yaml(cls, path: Path) -> Recipe:
        """Read a recipe.

        Raises:
            RecipeError: If the file cannot be read, is no YAML mapping, or holds an unknown key or a wrong value.
        """
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
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
        return cls(**values)

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


def _explain(error: ValidationError) -> RecipeError:
    """Say the first thing that is wrong with a recipe, and how to mend it."""
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
    method = recipe.method
    only_low_rank = _changed(recipe, "rank", "alpha", "rank_stabilized", "lr_ratio", "targets")
    needs_new = _changed(recipe, "width", "layers", "vocabulary")
    rules = [
        (
            recipe.model == "new" and method != "scratch",
            f"`model` is new, but `method` is {method}, which needs a model that has learned something.",
            "Set `method: scratch`, or name a pre-trained model.",
        ),
        (
            recipe.weights == "random" and method not in ("scratch", *_CLASSIFIERS),
            f"`weights` is random, but `method` is {method}.",
            "Training a language model from random weights is `method: scratch`.",
        ),
        (
            recipe.weights == "pretrained" and method == "scratch",
            "`weights` is pretrained, but `method` is scratch, which starts from random weights.",
            "Set `method: full` to go on from pre-trained ones.",
        ),
        (
            bool(only_low_rank) and method not in _LOW_RANK,
            f"`{only_low_rank}` is set, but `method` is {method}, which trains no adapter.",
            f"Leave it out, or set `method` to one of {', '.join(_LOW_RANK)}.",
        ),
        (
            recipe.optimizer == "muon" and method not in ("full", "scratch"),
            f"`optimizer` is muon, but `method` is {method}, which does not train all weights of a language model.",
            "Set `optimizer: adamw`, or `method` to full or scratch.",
        ),
        (
            bool(needs_new) and recipe.model != "new",
            f"`{needs_new}` is set, but `model` is {recipe.model}, whose size is given.",
            "Leave it out, or set `model: new` and `method: scratch`.",
        ),
        (
            recipe.packing and method in _CLASSIFIERS,
            f"`packing` is true, but `method` is {method}, which needs a text a row.",
            "Set `packing: false`.",
        ),
        (
            recipe.packing and recipe.batch_tokens < recipe.max_length,
            f"`batch_tokens` is {recipe.batch_tokens}, less than one packed row of {recipe.max_length} (`max_length`).",
            "Raise `batch_tokens`, or lower `max_length`.",
        ),
        (
            recipe.compile and not recipe.packing,
            "`compile` is true, but without `packing` every batch has another shape, and each would be compiled.",
            "Set `packing: true`, or `compile: false`.",
        ),
        (
            recipe.patience is not None and recipe.eval_every is None,
            "`patience` is set, but `eval_every` is null: there is nothing to be patient about.",
            "Set `eval_every` to a number of steps.",
        ),
    ]
    for broken, what, remedy in rules:
        if broken:
            raise RecipeError(what, remedy)


def _changed(recipe: Recipe, *keys: str) -> str:
    """The first of the keys whose value is not the default one, or nothing."""
    return next((key for key in keys if getattr(recipe, key) != Recipe.model_fields[key].default), "")


NAMED = {
    "lora": Recipe(method="lora", epochs=3, batch_tokens=1024, sample_prompts=20),
    "full": Recipe(method="full", batch_tokens=2048, sample_prompts=20),
    "dora": Recipe(method="dora", epochs=3, batch_tokens=1024, sample_prompts=20),
    "qlora": Recipe(method="qlora", epochs=3, batch_tokens=1024, sample_prompts=20),
    "scratch": Recipe(method="scratch", examples=3000, batch_tokens=2048, eval_every=50, sample_prompts=4),
    "probe": Recipe(method="probe", epochs=10, batch_tokens=1024, eval_every=None),
    "classify": Recipe(method="classify", epochs=3, batch_tokens=1024, eval_every=None),
}
"""Recipes that go by a name: each ends within a minute and a half on two cores, answers included."""
_ON_LARGER_MODELS: dict[str, dict[str, Any]] = {
    "lora": {"examples": 96},
    "full": {"examples": 96},
    "dora": {"examples": 64},
    "qlora": {"examples": 64},
}
"""What SmolLM2 is trained on in as much time."""


def named(name: str, model: str | None = None) -> Recipe:
    """The recipe of that name, for the model that is asked for.

    Raises:
        KeyError: If there is no such recipe.
    """
    if model is None or model in BUNDLED_MODELS or name not in _ON_LARGER_MODELS:
        return NAMED[name]
    return Recipe(method=name, model=model, batch_tokens=384, sample_prompts=10, **_ON_LARGER_MODELS[name])


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
