from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ftdemo import recipe
from ftdemo.errors import RecipeError
from ftdemo.methods import METHODS
from ftdemo.recipe import NAMED, Recipe, named


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(),
        *NAMED.values(),
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
        ("seed", 2**32, "less than 4294967296"),
        ("width", 100, "multiple of 32"),
        ("vocabulary", 100, "greater than or equal to 320"),
        ("model", "", "at least 1 character"),
        ("weights", "zero", "'pretrained' or 'random'"),
        ("packing", "perhaps", "valid boolean"),
    ],
)
def test_a_wrong_value_is_refused_with_the_key_the_value_and_what_is_allowed(
    key: str, value: Any, allowed: str
) -> None:
    with pytest.raises(RecipeError) as refusal:
        Recipe(**{key: value})
    assert refusal.value.what.startswith(f"`{key}` is {value!r}, but it should ")
    assert allowed in refusal.value.what
    assert refusal.value.remedy.startswith(f"`{key}`: ")


def test_a_recipe_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    file = tmp_path / "nowhere.yaml"
    with pytest.raises(RecipeError, match="No such file") as refusal:
        Recipe.from_yaml(file)
    assert refusal.value.what.startswith(f"{file}: ")


@pytest.mark.parametrize("text", ["", "# only a comment\n", "- rank\n- 8\n", "8\n", "rank\n", "8: rank\n"])
def test_a_recipe_file_that_holds_no_mapping_is_refused_with_an_example(text: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match="is not a YAML mapping") as refusal:
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


@pytest.mark.parametrize("name", NAMED)
def test_a_named_recipe_is_valid(name: str) -> None:
    assert Recipe(**NAMED[name].model_dump()) == NAMED[name]
    assert NAMED[name].method in METHODS


def test_every_method_has_a_named_recipe() -> None:
    assert set(NAMED) >= set(METHODS)


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("q_proj", ("q_proj",)),
        ("q_proj, v_proj", ("q_proj", "v_proj")),
        ("[q_proj, v_proj]", ("q_proj", "v_proj")),
        ("model.layers.0.mlp.up_proj", ("model.layers.0.mlp.up_proj",)),
        (r".*\.(q|v)_proj", r".*\.(q|v)_proj"),
        ("all-linear", "all-linear"),
    ],
)
def test_targets_in_a_file_are_names_a_text_of_names_or_a_pattern(text: str, targets: Any, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(f"targets: {text}\n", encoding="utf-8")
    assert Recipe.from_yaml(file).targets == targets
    file.write_text(Recipe.from_yaml(file).to_yaml(), encoding="utf-8")
    assert Recipe.from_yaml(file).targets == targets


def test_targets_that_are_no_regular_expression_are_refused() -> None:
    with pytest.raises(RecipeError) as refusal:
        Recipe(targets="*.q_proj")
    assert refusal.value.what.startswith("`targets` is '*.q_proj', but it should be all-linear, names")
    assert "not a regular expression (nothing to repeat" in refusal.value.what


def test_a_key_that_a_file_gives_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("rank: 8\nalpha: 16\nrank: 16\n", encoding="utf-8")
    with pytest.raises(RecipeError) as refusal:
        Recipe.from_yaml(file)
    assert refusal.value.what == f"{file}:3: `rank` is set twice."


def test_a_tilde_in_a_file_is_the_users_home(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("data: ~/mine.jsonl\nmodel: ~/model\n", encoding="utf-8")
    read = Recipe.from_yaml(file)
    assert (read.data, read.model) == (f"{Path.home()}/mine.jsonl", f"{Path.home()}/model")
    assert Recipe(data="~$mine.csv").data == "~$mine.csv"  # Office's mark of an open file, and no user


# What follows from the method

DEFAULTS = ("model", "weights", "data", "lr", "packing", "max_length")
BY_METHOD = {
    "lora": ("tiny", "pretrained", "short-tickets", 6e-3, False, 512),
    "dora": ("tiny", "pretrained", "short-tickets", 6e-3, False, 512),
    "qlora": ("tiny", "pretrained", "short-tickets", 6e-3, False, 512),
    "full": ("tiny", "pretrained", "short-tickets", 1e-3, False, 512),
    "scratch": ("new", "random", "high-street", 3e-3, True, 256),
    "probe": ("minilm", "pretrained", "routing", 2e-2, False, 512),
    "classify": ("minilm", "pretrained", "routing", 2e-4, False, 512),
}


@pytest.mark.parametrize("method", BY_METHOD)
def test_what_a_recipe_does_not_say_follows_from_its_method(method: str) -> None:
    recipe = Recipe(method=method)
    assert tuple(getattr(recipe, key) for key in DEFAULTS) == BY_METHOD[method]


@pytest.mark.parametrize("before", BY_METHOD)
@pytest.mark.parametrize("after", BY_METHOD)
def test_another_method_changes_what_was_not_said(before: str, after: str) -> None:
    recipe = Recipe(method=before, seed=7).with_settings({"method": after})
    assert recipe == Recipe(method=after, seed=7)


def test_another_method_leaves_what_was_said() -> None:
    recipe = Recipe(lr=1e-5, data="letters.jsonl", packing=False).with_settings({"method": "scratch"})
    assert (recipe.lr, recipe.data, recipe.packing) == (1e-5, "letters.jsonl", False)
    assert (recipe.model, recipe.max_length) == ("new", 256)


def test_a_larger_model_is_trained_on_the_same_data_in_smaller_steps() -> None:
    lora, full = Recipe(model="smollm2"), Recipe(model="smollm2", method="full")
    assert (lora.data, lora.lr) == ("short-tickets", 4e-3)
    assert (full.data, full.lr) == ("short-tickets", 1e-4)


@pytest.mark.parametrize("model", ["owner/name", "runs/mine"])
@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_learning_rate_of_a_model_that_was_never_run_here_is_left_to_its_size(model: str, method: str) -> None:
    recipe = Recipe(model=model, method=method)
    assert (recipe.data, recipe.lr) == ("short-tickets", None)
    with pytest.raises(RecipeError, match="`lr` is null"):
        _ = recipe.peak_lr


@pytest.mark.parametrize("name", NAMED)
def test_a_named_recipe_is_for_the_model_that_is_asked_for(name: str) -> None:
    assert named(name) == named(name, NAMED[name].model) == NAMED[name]
    larger = named(name, "smollm2")
    if NAMED[name].model == "tiny":
        assert (larger.model, larger.data) == ("smollm2", NAMED[name].data)
        has_file = (Path(recipe.__file__).parent / "recipes" / f"{name}.yaml").is_file()
        assert (larger.examples is not None) == has_file  # a method without a file has only its defaults
    else:
        assert larger == NAMED[name]


def test_a_file_that_writes_every_key_says_all(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(Recipe().to_yaml(), encoding="utf-8")
    assert Recipe.from_yaml(file).with_settings({"method": "full"}).lr == Recipe().lr


@pytest.mark.parametrize(
    ("method", "is_low_rank", "is_classifier"),
    [
        ("lora", 1, 0),
        ("dora", 1, 0),
        ("qlora", 1, 0),
        ("full", 0, 0),
        ("scratch", 0, 0),
        ("probe", 0, 1),
        ("classify", 0, 1),
    ],
)
def test_a_method_trains_an_adapter_or_a_classifier_or_neither(
    method: str, is_low_rank: bool, is_classifier: bool
) -> None:
    recipe = Recipe(method=method)
    assert (recipe.is_low_rank, recipe.is_classifier) == (is_low_rank, is_classifier)


# What contradicts itself

IMPOSSIBLE: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"model": "new"}, ("`model` is new", "`method` is lora")),
    ({"model": "new", "method": "probe"}, ("`model` is new", "`method` is probe")),
    ({"weights": "random"}, ("`weights` is random", "`method` is lora")),
    ({"weights": "random", "method": "full"}, ("`weights` is random", "`method` is full")),
    ({"weights": "pretrained", "method": "scratch"}, ("`weights` is pretrained", "`method` is scratch")),
    ({"rank": 4, "method": "full"}, ("`rank` is set", "`method` is full")),
    ({"alpha": 8, "method": "scratch"}, ("`alpha` is set", "`method` is scratch")),
    ({"rank_stabilized": True, "method": "probe"}, ("`rank_stabilized` is set", "`method` is probe")),
    ({"lr_ratio": 4, "method": "classify"}, ("`lr_ratio` is set", "`method` is classify")),
    ({"targets": ("q_proj",), "method": "full"}, ("`targets` is set", "`method` is full")),
    ({"width": 64}, ("`width` is set", "`model` is tiny")),
    ({"layers": 2, "method": "probe"}, ("`layers` is set", "`model` is minilm")),
    ({"vocabulary": 512, "method": "scratch", "model": "smollm2"}, ("`vocabulary` is set", "`model` is smollm2")),
    ({"packing": True, "method": "classify"}, ("`packing` is true", "`method` is classify")),
    ({"packing": True, "method": "probe"}, ("`packing` is true", "`method` is probe")),
    ({"packing": True, "batch_tokens": 256}, ("`batch_tokens` is 256", "512 (`max_length`)")),
    ({"method": "scratch", "max_length": 1024}, ("`batch_tokens` is 512", "1024 (`max_length`)")),
    ({"optimizer": "muon"}, ("`optimizer` is muon", "`method` is lora")),
    ({"patience": 3, "eval_every": None}, ("`patience` is set", "`eval_every` is null")),
]


@pytest.mark.parametrize(("settings", "parts"), IMPOSSIBLE, ids=[", ".join(settings) for settings, _ in IMPOSSIBLE])
def test_keys_that_contradict_each_other_are_refused_with_both_and_a_way_out(
    settings: dict[str, Any], parts: tuple[str, ...]
) -> None:
    with pytest.raises(RecipeError) as refusal:
        Recipe(**settings)
    assert all(part in refusal.value.what for part in parts), refusal.value.what
    assert "`" in refusal.value.remedy


def test_another_method_is_refused_where_what_was_said_does_not_go_with_it() -> None:
    with pytest.raises(RecipeError, match="`rank` is set, but `method` is full"):
        Recipe(rank=4).with_settings({"method": "full"})


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "scratch", "model": "smollm2"},
        {"method": "probe", "weights": "random"},
        {"method": "classify", "model": "smollm2"},
        {"method": "full", "packing": True},
        {"method": "full", "rank": 8},
        {"method": "scratch", "width": 64, "layers": 2, "vocabulary": 512},
        {"patience": 3},
    ],
)
def test_keys_that_only_look_odd_together_are_allowed(settings: dict[str, Any]) -> None:
    assert Recipe(**settings).model_dump(include=set(settings)) == settings
