from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ftdemo.errors import RecipeError
from ftdemo.recipe import NAMED, Recipe, parse_setting


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(),
        NAMED["lora"],
        Recipe(
            model="owner/name", data="é: #1.jsonl", lr=1e-5, max_steps=3, targets=("q_proj", "v_proj"), eval_every=None
        ),
    ],
)
def test_a_recipe_comes_back_from_its_own_yaml(recipe: Recipe, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe.to_yaml(), encoding="utf-8")
    assert Recipe.from_yaml(file) == recipe


def test_every_key_in_the_yaml_has_a_value_and_a_comment() -> None:
    lines = Recipe().to_yaml().splitlines()
    assert [line.partition(": ")[0] for line in lines] == list(Recipe.model_fields)
    for line in lines:
        setting, _, comment = line.partition("  # ")
        assert setting.partition(": ")[2].strip(), line
        assert comment.strip(), line


def test_an_unknown_key_is_refused_and_the_near_one_is_named() -> None:
    with pytest.raises(RecipeError) as refusal:
        Recipe(rnak=16)
    assert refusal.value.what == "The recipe has no key `rnak`."
    assert refusal.value.remedy == "Did you mean `rank`?"


def test_an_unknown_key_like_no_other_is_refused_with_all_keys_named() -> None:
    with pytest.raises(RecipeError, match="no key `zzz`") as refusal:
        Recipe(zzz=1)
    for key in Recipe.model_fields:
        assert key in refusal.value.remedy


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("rank", 0, "greater than or equal to 1"),
        ("rank", 10000, "less than or equal to 1024"),
        ("lr", "fast", "valid number"),
        ("lr", 0, "greater than 0"),
        ("lr", float("nan"), "it should be"),
        ("max_steps", 0, "greater than or equal to 1"),
        ("train_on", "prompt", "'completion' or 'all'"),
        ("method", "magic", "'lora'"),
        ("epochs", float("inf"), "less than or equal to 1000"),
        ("seed", -1, "greater than or equal to 0"),
    ],
)
def test_a_wrong_value_is_refused_with_the_key_the_value_and_what_is_allowed(
    key: str, value: Any, allowed: str
) -> None:
    with pytest.raises(RecipeError) as refusal:
        Recipe(**{key: value})
    assert refusal.value.what.startswith(f"`{key}` is {value!r}, but it should be")
    assert allowed in refusal.value.what
    assert refusal.value.remedy.startswith(f"`{key}`: ")


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
    with pytest.raises(RecipeError, match=r"key=value") as refusal:
        parse_setting(text)
    assert refusal.value.what.startswith(f"--set {text}:")
    assert "--set rank=16" in refusal.value.remedy


@pytest.mark.parametrize("text", ["targets=[q_proj", "data='open", "seed=2026-13-45"])
def test_a_setting_whose_value_is_no_yaml_is_refused_and_shown(text: str) -> None:
    with pytest.raises(RecipeError, match="not valid YAML") as refusal:
        parse_setting(text)
    assert text in refusal.value.what


def test_a_recipe_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    file = tmp_path / "nowhere.yaml"
    with pytest.raises(RecipeError, match="No such file") as refusal:
        Recipe.from_yaml(file)
    assert refusal.value.what.startswith(f"{file}: ")


@pytest.mark.parametrize("text", ["", "# only a comment\n", "- rank\n- 8\n", "8\n", "rank\n", "8: rank\n"])
def test_a_recipe_file_that_holds_no_mapping_is_refused_with_an_example(text: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match="a recipe is a mapping") as refusal:
        Recipe.from_yaml(file)
    assert refusal.value.what.startswith(f"{file}: ")
    assert "rank: 8" in refusal.value.remedy


def test_broken_yaml_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("rank: 8\nalpha: 16\nlr: : fast\n", encoding="utf-8")
    with pytest.raises(RecipeError, match="not valid YAML") as refusal:
        Recipe.from_yaml(file)
    assert refusal.value.what.startswith(f"{file}:3: ")


@pytest.mark.parametrize("text", ["seed: 2026-13-45\n", "targets: " + "[" * 5000])
def test_yaml_that_the_reader_chokes_on_is_refused_with_its_file(text: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match="not valid YAML") as refusal:
        Recipe.from_yaml(file)
    assert refusal.value.what.startswith(f"{file}")


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\x00\x00", bytes(range(256)), b"rank: 8\x00"])
def test_a_binary_file_is_no_recipe(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_bytes(content)
    with pytest.raises(RecipeError, match=r"not a text file in UTF-8|not valid YAML") as refusal:
        Recipe.from_yaml(file)
    assert refusal.value.what.startswith(f"{file}: ")


def test_a_wrong_value_in_a_file_is_refused_like_any_other(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("rank: none of them\n", encoding="utf-8")
    with pytest.raises(RecipeError, match="`rank` is 'none of them'"):
        Recipe.from_yaml(file)


def test_settings_give_a_new_recipe_and_leave_the_old_one_alone() -> None:
    old = Recipe(rank=4, seed=7)
    new = old.with_settings({"rank": 16})
    assert (old.rank, old.seed) == (4, 7)
    assert (new.rank, new.seed) == (16, 7)


def test_settings_are_checked_with_the_rest_of_the_recipe() -> None:
    with pytest.raises(RecipeError, match="`rank` is 0"):
        Recipe().with_settings({"rank": 0})


def test_a_recipe_cannot_be_changed() -> None:
    recipe = Recipe()
    with pytest.raises(ValidationError, match="frozen"):
        recipe.rank = 16
    assert recipe.rank == Recipe().rank


def test_the_named_recipe_is_valid_and_called_like_its_method() -> None:
    assert Recipe(**NAMED["lora"].model_dump()) == NAMED["lora"]
    assert NAMED["lora"].method == "lora"
