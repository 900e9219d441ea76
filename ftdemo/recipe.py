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

from ftdemo.errors import RecipeError


class Recipe(BaseModel):
    """One run, in full. Every key has a default; each key's description is its comment in YAML."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field("smollm2", description="smollm2, a Hub id (owner/name) or a local folder", min_length=1)
    data: str = Field("support-voice", description="a built-in data set, or a JSONL file", min_length=1)
    examples: int | None = Field(None, ge=1, description="use only the first N training rows")
    method: Literal["lora"] = Field("lora", description="how the model is trained")
    train_on: Literal["completion", "all"] = Field("completion", description="which tokens have a loss")
    seed: int = Field(0, ge=0, lt=2**32, description="seeds the adapter's start and the order of the rows")
    epochs: float = Field(1.0, gt=0, le=1000, description="passes over the training rows")
    max_steps: int | None = Field(None, ge=1, description="stop after this many steps, if that comes first")
    batch_tokens: int = Field(512, ge=16, le=2**20, description="tokens in a batch, padding included")
    max_length: int = Field(512, ge=8, le=131072, description="tokens of a row that are kept")
    lr: float = Field(4e-3, gt=0, le=1, description="peak learning rate")
    schedule: Literal["constant", "linear", "cosine"] = Field("linear", description="how the learning rate falls")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps in which the learning rate rises")
    weight_decay: float = Field(0.0, ge=0, le=1, description="decoupled weight decay of AdamW")
    rank: int = Field(8, ge=1, le=1024, description="rank r of the update B A")
    alpha: float = Field(16.0, gt=0, le=4096, description="the update is scaled by alpha / rank")
    targets: str | tuple[str, ...] = Field("all-linear", description="the matrices that get an adapter")
    dtype: Literal["auto", "float32", "bfloat16"] = Field("auto", description="of the frozen weights; auto measures")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="where the model is placed")
    eval_every: int | None = Field(20, ge=1, description="steps between looks at the held-out loss")
    sample_prompts: int = Field(12, ge=0, le=1000, description="held-out prompts answered before and after")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _explain(error) from None

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


def parse_setting(text: str) -> tuple[str, Any]:
    """Split ``key=value`` as given to ``--set``; the value is read as YAML.

    Raises:
        RecipeError: If there is no ``=`` or the value is no YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"--set {text}: there is no `key=value` here.", "Write it like `--set rank=16`.")
    try:
        return key.strip(), yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise RecipeError(f"--set {text}: the value is not valid YAML.", "Quote it if it has odd characters.") from None


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
    expected = problem["msg"].replace("Input should be", "it should be")
    return RecipeError(f"`{key}` is {problem['input']!r}, but {expected}.", f"`{key}`: {description}.")


NAMED = {"lora": Recipe(method="lora", examples=96, batch_tokens=384, sample_prompts=10)}
"""Recipes that go by a name: each ends within a minute and a half on two cores."""
