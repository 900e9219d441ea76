"""One option for each key of a recipe, made from the fields of `Recipe`, so that a new field is a new option."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import click

from ftdemo.errors import RecipeError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


class RecipeCommand(click.Command):
    """A command with an option for each key of a recipe.

    Its function gets ``changes``: a dictionary of the keys that were set, by their own options or by ``--set``. An
    option that the command itself has under the same name takes precedence. `Recipe` is imported when a command is
    run or explained, so that a list of commands needs neither it nor pydantic.
    """

    def get_params(self, context: click.Context) -> list[click.Parameter]:
        """The command's own parameters, and one for each key of a recipe."""
        own = super().get_params(context)
        taken = {parameter.name for parameter in own}
        return [*own, *(option for option in _recipe_options() if option.name not in taken)]

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Explain the command's own options first, and then the keys of a recipe."""
        options = [each for each in self.get_params(context) if isinstance(each, click.Option)]
        for title, is_of_recipe in (("Options", False), ("Recipe options", True)):
            group = [each for each in options if isinstance(each, _RecipeOption) == is_of_recipe]
            with formatter.section(title):
                formatter.write_dl([record for each in group if (record := each.get_help_record(context))])

    def invoke(self, context: click.Context) -> Any:
        """Run the command with what was set."""
        options = [each for each in self.get_params(context) if isinstance(each, _RecipeOption)]
        context.params["changes"] = _merged(
            setting for each in options for setting in each.settings(context.params.pop(str(each.name)))
        )
        return super().invoke(context)


def parse_setting(text: str) -> tuple[str, Any]:
    """Split ``key=value``, as given to ``--set``, and read the value as `parse_value` does.

    Raises:
        RecipeError: If there is no ``=``, or the value cannot be read.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"--set {text} is not of the form KEY=VALUE.", "Write it like `--set rank=16`.")
    return key.strip(), parse_value(key.strip(), value)


def parse_value(key: str, text: str) -> Any:
    """What was typed for a key of a recipe. Whether it is a possible value is for `Recipe` to say.

    Text is taken literally, so that a path may have any character in it; ``~`` is the user's home. Names of matrices
    may be separated by commas. Numbers, ``true``, ``null`` and lists are read as YAML.

    Raises:
        RecipeError: If the value is no YAML.
    """
    import yaml

    from ftdemo.data.files import with_home
    from ftdemo.recipe import Recipe

    kinds = _kinds(Recipe.model_fields[key]) if key in Recipe.model_fields else set()
    if kinds and all(kind is str or get_origin(kind) is Literal for kind in kinds):
        return with_home(text)
    if _takes_names(kinds) and not text.startswith("["):
        return _targets(text)
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise RecipeError(f"{key}={text}: the value is not valid YAML.", "Put it in quotes.") from None


def _targets(text: str) -> str | list[str]:
    from ftdemo.models.shapes import as_targets

    try:
        targets = as_targets(text)
    except ValueError:
        return text  # for `Recipe` to refuse
    return targets if isinstance(targets, str) else list(targets)


class _RecipeOption(click.Option):
    """An option of a recipe: of one key of it, or ``--set`` for any."""

    def settings(self, given: Any) -> Iterable[tuple[str, Any]]:
        """The keys and values that were given to this option."""
        return map(parse_setting, given)


class _KeyOption(_RecipeOption):
    """The option of one key."""

    def __init__(self, key: str, field: FieldInfo) -> None:
        kinds, name = _kinds(field), key.replace("_", "-")
        self._allowed = _allowed(field)
        is_flag = kinds == {bool}
        super().__init__(
            [f"--{name}/--no-{name}" if is_flag else f"--{name}", key],
            default=None,
            multiple=not is_flag,  # so that two different values can be refused
            metavar=None if is_flag else _metavar(key, kinds),
            help=_sentence(field.description or ""),
        )

    def settings(self, given: Any) -> Iterable[tuple[str, Any]]:
        """The key with each value that was given."""
        key = str(self.name)
        if given is None or isinstance(given, bool):
            return [] if given is None else [(key, given)]
        return [(key, parse_value(key, text)) for text in given]

    def get_help_record(self, context: click.Context) -> tuple[str, str] | None:
        """The option and its description, with the values that are allowed."""
        record = super().get_help_record(context)
        return (record[0], f"{record[1]}  [{self._allowed}]") if record and self._allowed else record


@cache
def _recipe_options() -> tuple[_RecipeOption, ...]:
    from ftdemo.recipe import Recipe

    help_text = "Set any key of the recipe, like its own option. Repeatable."
    any_key = _RecipeOption(["--set", "settings"], metavar="KEY=VALUE", multiple=True, help=help_text)
    return (any_key, *(_KeyOption(key, field) for key, field in Recipe.model_fields.items()))


def _merged(given: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The settings as a dictionary.

    Raises:
        RecipeError: If a key has two different values.
    """
    changes: dict[str, Any] = {}
    for key, value in given:
        if changes.setdefault(key, value) != value:
            raise RecipeError(f"`{key}` is set twice: to {changes[key]!r} and to {value!r}.", "Set it once.")
    return changes


def _kinds(field: FieldInfo) -> set[Any]:
    """The types that a field's value may have, without None."""
    annotation = field.annotation
    kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return set(kinds) - {NoneType}


def _takes_names(kinds: set[Any]) -> bool:
    return any(get_origin(kind) is tuple for kind in kinds)


def _metavar(key: str, kinds: set[Any]) -> str:
    from ftdemo.methods import METHODS

    if key == "method":  # its type is text: methods are registered, so that adding one changes no type
        return f"[{'|'.join(METHODS)}]"
    for kind in kinds:
        if get_origin(kind) is Literal:
            return f"[{'|'.join(get_args(kind))}]"
    if _takes_names(kinds):
        return "NAME,…"
    return "INTEGER" if int in kinds else "NUMBER" if float in kinds else "TEXT"


def _allowed(field: FieldInfo) -> str:
    """Which numbers a field may hold, in words: `1 to 1,024`, `1 or more, or null`."""
    bounds = {name: getattr(rule, name) for rule in field.metadata for name in _BOUNDS if hasattr(rule, name)}
    if "ge" in bounds and "le" in bounds:
        bounds = {"between": f"{bounds.pop('ge'):,} to {bounds.pop('le'):,}"} | bounds
    words = [_BOUNDS[name].format(bound) for name, bound in bounds.items()]
    if NoneType in get_args(field.annotation):
        words.append("or null")
    return ", ".join(words)


_BOUNDS = {
    "between": "{}",
    "ge": "{:,} or more",
    "gt": "more than {:,}",
    "le": "at most {:,}",
    "lt": "less than {:,}",
    "multiple_of": "a multiple of {:,}",
}
"""How help says what `annotated_types` says; pydantic keeps a field's bounds as its objects."""


def _sentence(description: str) -> str:
    return f"{description[:1].upper()}{description[1:]}."
