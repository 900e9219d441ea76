"""Every key of a recipe is an option, and `--set` says the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner, Result

from ftdemo.cli.main import main
from ftdemo.cli.recipe_options import parse_setting, parse_value
from ftdemo.errors import RecipeError
from ftdemo.recipe import Recipe, recipe_of

WITH_RECIPE = ("train", "inspect", "estimate", "compare")


def shell(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def options(name: str) -> dict[str, click.Option]:
    """The options of a command, by the key or parameter that each sets."""
    context = click.Context(main)
    command = main.get_command(context, name)
    assert command is not None
    return {str(each.name): each for each in command.get_params(context) if isinstance(each, click.Option)}


def trained_by(*arguments: str) -> dict[str, Any]:
    """The recipe that `ftdemo train` would carry out."""
    done = shell("train", *arguments, "--show")
    assert done.exit_code == 0, done.output
    recipe: dict[str, Any] = yaml.safe_load(done.stdout)
    return recipe


@pytest.mark.parametrize("key", Recipe.model_fields)
def test_every_key_of_a_recipe_is_an_option_whose_help_is_the_keys_description(key: str) -> None:
    option = options("train")[key]
    assert option.opts == [f"--{key.replace('_', '-')}"]
    description = Recipe.model_fields[key].description
    assert description is not None
    assert option.help is not None
    assert option.help.lower() == f"{description}.".lower()


@pytest.mark.parametrize("command", WITH_RECIPE)
def test_every_command_that_takes_a_recipe_has_an_option_for_each_key(command: str) -> None:
    assert {"settings", *Recipe.model_fields} <= options(command).keys()


def test_help_shows_a_commands_own_options_first_and_what_each_key_may_be() -> None:
    done = shell("train", "--help")
    own, of_recipe = " ".join(done.stdout.split()).split("Recipe options:")
    assert "--resume RUN" in own
    assert "--rank INTEGER" in of_recipe
    assert "[1 to 1,024]" in of_recipe
    assert "[more than 0, at most 1,000]" in of_recipe
    assert "[1 or more, or null]" in of_recipe
    assert "--schedule [constant|linear|cosine]" in of_recipe
    assert "--packing / --no-packing" in of_recipe
    assert "--targets NAME,…" in of_recipe


@pytest.mark.parametrize(
    ("option", "setting"),
    [
        (["--rank", "16"], "rank=16"),
        (["--lr", "1e-3"], "lr=1e-3"),
        (["--packing", "--batch-tokens", "1024"], "packing=true"),
        (["--no-train-stop"], "train_stop=false"),
        (["--eval-every", "null"], "eval_every=null"),
        (["--targets", "q_proj"], "targets=q_proj"),
        (["--targets", "q_proj, v_proj"], "targets=q_proj,v_proj"),
        (["--targets", "q_proj,v_proj"], "targets=[q_proj, v_proj]"),
        (["--targets", r".*\.q_proj"], r"targets=.*\.q_proj"),
        (["--data", "a#b: c.jsonl"], "data=a#b: c.jsonl"),
        (["--data", "~/mine.jsonl"], "data=~/mine.jsonl"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_option_and_set_say_the_same_and_may_both_be_given(option: list[str], setting: str) -> None:
    rest = ["--set", "batch_tokens=1024"] if "packing" in setting else []
    by_option = trained_by("lora", *option)
    assert by_option == trained_by("lora", "--set", setting, *rest) == trained_by("lora", *option, "--set", setting)
    assert by_option != trained_by("lora", *rest)


def test_text_is_taken_as_it_is_and_a_tilde_is_the_users_home() -> None:
    assert parse_value("data", "a#b: [c]") == "a#b: [c]"
    assert parse_value("data", "~/mine.jsonl") == str(Path.home() / "mine.jsonl")
    assert parse_value("model", "null") == "null"


@pytest.mark.parametrize(
    "text", ["rows #2.jsonl", "a: b.jsonl", "[a].jsonl", "*.jsonl", "'a'.jsonl", "2026-11-28", "1e5"]
)
@pytest.mark.parametrize("key", ["data", "model"])
def test_a_path_is_never_read_as_yaml(key: str, text: str) -> None:
    for words in ((f"--{key}", text), ("--set", f"{key}={text}")):
        assert trained_by("lora", *words)[key] == text


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (("train", "lora", "--max-steps=1", "--out=~/file/run"), "{home}/file"),
        (("chat", "~/run"), "{home}/run holds no run"),
        (("chat", "tiny", "--against=~/run"), "{home}/run holds no run"),
        (("evaluate", "~/run"), "{home}/run holds no run"),
        (("check-data", "~/rows.jsonl"), "{home}/rows.jsonl"),
        (("check-data", "rows.jsonl", "--model=~/model"), "{home}/model"),
        (("inspect", "~/rows.jsonl"), "{home}/rows.jsonl"),
        (("compare", "~/rows.jsonl"), "{home}/rows.jsonl"),
        (("estimate", "~/recipe.yaml"), "{home}/recipe.yaml: No such file"),
        (("workflow", "~/plan.yaml"), "{home}/plan.yaml: No such file"),
    ],
    ids=" ".join,
)
def test_a_tilde_is_the_users_home_in_every_parameter_that_takes_a_path(
    words: tuple[str, ...], refusal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "file").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(home))
    done = shell(*words)
    assert done.exit_code > 0
    assert refusal.format(home=home) in done.stderr
    assert not (tmp_path / "~").exists()


def test_a_name_of_a_matrix_is_no_pattern() -> None:
    assert recipe_of("lora", {"targets": parse_value("targets", "q_proj")}).targets == ("q_proj",)
    assert parse_value("targets", ".*q_proj") == ".*q_proj"
    assert parse_value("targets", "all-linear") == "all-linear"


@pytest.mark.parametrize(
    ("arguments", "what", "remedy"),
    [
        (["--rank", "8", "--set", "rank=16"], "`rank` is set twice: to 16 and to 8.", "Set it once."),
        (["--rank", "8", "--rank", "16"], "`rank` is set twice: to 8 and to 16.", "Set it once."),
        (["--set", "rank=8", "--set", "rank=16"], "`rank` is set twice: to 8 and to 16.", "Set it once."),
        (["--rank", "0"], "`rank` is 0, but it should be greater than or equal to 1.", "`rank`: "),
        (["--rank", "many"], "`rank` is 'many', but it should be a valid integer", "`rank`: "),
        (["--rank", "[8"], "rank=[8: the value is not valid YAML.", "Put it in quotes"),
        (["--schedule", "steep"], "`schedule` is 'steep', but it should be 'constant', 'linear'", "`schedule`: "),
        (["--method", "magic"], "`method` is 'magic', but it should be", "`method`: "),
        (["--width", "64"], "`width` is set, but ", "Leave it out"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.parametrize("command", ["train", "inspect", "estimate"])
def test_a_wrong_value_gets_the_recipes_own_sentence_and_exit_code_2(
    command: str, arguments: list[str], what: str, remedy: str
) -> None:
    if command == "estimate" and "magic" in arguments:
        what, remedy = "There is no recipe called magic.", "Name one of"
    done = shell(command, *([] if command == "estimate" else ["lora"]), *arguments)
    assert done.exit_code == 2, done.output
    first, second = done.stderr.splitlines()
    assert first.startswith(f"Error: {what}")
    assert remedy in second


def test_data_that_is_named_twice_is_refused() -> None:
    done = shell("inspect", "mine.jsonl", "--data", "yours.jsonl")
    assert done.exit_code == 2
    assert "mine.jsonl and --data both name the data." in done.stderr


def test_a_setting_is_split_at_its_first_equals_sign() -> None:
    assert parse_setting("rank=16") == ("rank", 16)
    assert parse_setting("data=a=b.jsonl") == ("data", "a=b.jsonl")


@pytest.mark.parametrize(("text", "lr"), [("lr=2e-3", 0.002), ("lr=0.002", 0.002), ("lr=1", 1.0)])
def test_a_learning_rate_is_a_number_however_it_is_written(text: str, lr: float) -> None:
    recipe = Recipe().with_settings(dict([parse_setting(text)]))
    assert recipe.lr == lr
    assert isinstance(recipe.lr, float)


@pytest.mark.parametrize("text", ["rank", "=16", " = 16", ""])
def test_a_setting_without_key_and_equals_sign_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(RecipeError, match="KEY=VALUE") as refusal:
        parse_setting(text)
    assert refusal.value.what.startswith(f"--set {text} is not")
    assert "--set rank=16" in refusal.value.remedy


@pytest.mark.parametrize("text", ["targets=[q_proj", "rank='open", "seed=2026-13-45"])
def test_a_setting_whose_value_is_no_yaml_is_refused_and_shown(text: str) -> None:
    with pytest.raises(RecipeError, match="not valid YAML") as refusal:
        parse_setting(text)
    assert text in refusal.value.what
