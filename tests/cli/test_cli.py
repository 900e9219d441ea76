import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from ftdemo.cli.main import main
from ftdemo.models.catalog import BUNDLED_MODELS
from ftdemo.recipe import NAMED, Recipe

Done = subprocess.CompletedProcess[str]


def _python(code: str, *arguments: str, cwd: Path) -> Done:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, encoding="utf-8", timeout=600, check=False)


def _ftdemo(*arguments: str, cwd: Path) -> Done:
    return _python("from ftdemo.cli.main import main; main(prog_name='ftdemo')", *arguments, cwd=cwd)


def _assert_refused(done: Done, what: str, remedy: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    first, second = done.stderr.splitlines()
    assert first.startswith("Error: ")
    assert what in first
    assert remedy in second


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--help"], "train"),
        (["train", "--help"], "--resume RUN"),
        (["inspect", "--help"], "which tokens of each example are trained"),
        (["evaluate", "--help"], "--data FILE|SET"),
        (["-h"], "doctor"),
    ],
)
def test_help_comes_at_once_for_it_loads_no_torch_no_transformers_and_no_gradio(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    code = (
        "import sys; from ftdemo.cli.main import main; main(standalone_mode=False);"
        "print('loaded:', {'torch', 'transformers', 'gradio', 'peft'} & set(sys.modules))"
    )
    done = _python(code, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    assert done.stdout.endswith("loaded: set()\n")


@pytest.mark.parametrize(
    ("arguments", "what", "remedy"),
    [
        (["train", "magic"], "There is no recipe called magic.", "Name one of full, lora, dora,"),
        (["train"], "No recipe is given.", "`ftdemo train lora`"),
        (["train", "nowhere.yaml"], "nowhere.yaml: No such file", "Check the path"),
        (["train", "."], "There is no recipe called .", ".yaml"),
        (["train", "lora", "--set", "rnak=8"], "no key `rnak`", "Did you mean `rank`?"),
        (["train", "lora", "--set", "rank=0"], "`rank` is 0, but it should be greater than or equal to 1", "`rank`: "),
        (
            ["train", "lora", "--set", "rank=10000"],
            "`rank` is 10000, but it should be less than or equal to 1024",
            "`rank`: ",
        ),
        (["train", "lora", "--set", "rank"], "--set rank is not of the form KEY=VALUE", "--set rank=16"),
        (["train", "full", "--set", "rank=4"], "`rank` is set, but `method` is full", "lora, dora, qlora"),
        (["train", "--resume", "nowhere"], "nowhere holds no run", "Name a folder that `ftdemo train` wrote."),
        (["train", "lora", "--resume", "run"], "--resume continues a run with its own recipe", "the run's folder"),
        (["train", "--resume", "run", "--set", "rank=4"], "--resume continues a run with", "the run's folder"),
        (["train", "--resume", "run", "--out", "new"], "--resume continues a run with", "the run's folder"),
        (["inspect", "nowhere.jsonl"], "There is no data called nowhere.jsonl", "tickets"),
        (["inspect", "routing"], "routing contains labels: the loss is on the label", "Name chats or texts."),
        (["evaluate", "nowhere"], "nowhere holds no run", "Name a folder that `ftdemo train` wrote."),
        (["chart", "nowhere"], "nowhere holds no run", "Name a folder that `ftdemo train` wrote."),
        (["record"], "No experiment is given.", "none is in docs/experiments"),
        (["chat", "nowhere"], "nowhere holds no run", "Name a folder that `ftdemo train` wrote."),
        (["chat", "."], "run.json is missing or cannot be read", "Name a folder that `ftdemo train` wrote."),
        (["serve"], "There is no built site in site.", "make site"),
        (["demo", "magic"], "There is no demo called magic.", "lora"),
    ],
    ids=" ".join,
)
def test_a_request_that_cannot_be_met_gets_two_lines_and_exit_code_2(
    arguments: list[str], what: str, remedy: str, tmp_path: Path
) -> None:
    _assert_refused(_ftdemo(*arguments, cwd=tmp_path), what, remedy)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["serve"], ["demo", "lora"]])
def test_a_port_that_cannot_be_is_refused_with_the_ports_there_are(command: list[str], tmp_path: Path) -> None:
    done = _ftdemo(*command, "--port", "99999", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "'--port': 99999 is not in the range 0<=x<=65535" in done.stderr


@pytest.mark.parametrize("record", ["", "{broken", "[]", "{}"])
def test_a_folder_whose_record_is_no_runs_record_holds_no_run(record: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(record, encoding="utf-8")
    _assert_refused(_ftdemo("chat", ".", cwd=tmp_path), "holds no run", "Name a folder that `ftdemo train` wrote.")


def test_missing_data_is_refused_before_any_model_and_leaves_nothing_behind(tmp_path: Path) -> None:
    done = _ftdemo("train", "lora", "--set", "data=nowhere.jsonl", "--set", "model=nowhere", cwd=tmp_path)
    _assert_refused(done, "There is no data called nowhere.jsonl", "tickets")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_data_file_is_refused_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "letters.jsonl").touch()
    done = _ftdemo("train", "lora", "--set", "data=letters.jsonl", "--set", "model=nowhere", cwd=tmp_path)
    _assert_refused(done, "letters.jsonl: the file is empty.", '{"prompt": …, "completion": …}')
    assert [path.name for path in tmp_path.iterdir()] == ["letters.jsonl"]


def test_a_folder_that_is_there_already_is_refused_and_left_untouched(tmp_path: Path) -> None:
    kept = tmp_path / "run" / "run.json"
    kept.parent.mkdir()
    kept.write_text("mine", encoding="utf-8")
    _assert_refused(_ftdemo("train", "lora", "--out", "run", cwd=tmp_path), "run already exists.", "--out")
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["run", "run/run.json"]
    assert kept.read_text(encoding="utf-8") == "mine"


def test_data_of_the_users_own_is_used_whole_unless_examples_says_otherwise(tmp_path: Path) -> None:
    whole = _ftdemo("train", "lora", "--show", "--set", "data=mine.jsonl", cwd=tmp_path)
    part = _ftdemo("train", "lora", "--show", "--set", "data=mine.jsonl", "--set", "examples=20", cwd=tmp_path)
    assert "examples: null" in whole.stdout
    assert "examples: 20" in part.stdout


@pytest.mark.parametrize("name", list(NAMED))
def test_every_named_recipe_can_be_shown_and_read_back(name: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["train", name, "--show"])
    assert done.exit_code == 0, done.output
    (tmp_path / "recipe.yaml").write_text(done.stdout, encoding="utf-8")
    assert Recipe.from_yaml(tmp_path / "recipe.yaml") == NAMED[name]


def test_doctor_tells_what_this_machine_has() -> None:
    report = json.loads(CliRunner().invoke(main, ["doctor", "--json"]).stdout)
    assert report.keys() == {"hardware", "models", "cache", "versions"}
    assert report["hardware"]["number_format"] in ("float32", "bfloat16")
    assert report["models"].keys() == {*BUNDLED_MODELS, "smollm2", "minilm"}
    assert report["versions"].keys() >= {"ftdemo", "python", "torch"}


def test_show_prints_the_recipe_as_a_file_that_can_be_read_back(tmp_path: Path) -> None:
    done = _ftdemo("train", "lora", "--show", "--set", "rank=4", "--set", "targets=[q_proj, v_proj]", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    file = tmp_path / "recipe.yaml"
    file.write_text(done.stdout, encoding="utf-8")
    assert Recipe.from_yaml(file) == NAMED["lora"].with_settings({"rank": 4, "targets": ("q_proj", "v_proj")})
