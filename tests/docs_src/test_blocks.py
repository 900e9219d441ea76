"""Every code block of a page is a file in docs_src/<page>, and holds as far as it can be tried here.

Python runs alone, or with what `test_<page>.py` prepares. Shell commands are read by the commands themselves, and a
recipe is made of each training run. What else a page shows is tried in `test_<page>.py`, or excused in `NOT_RUN`.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from shown import ROOT, SOURCES, commands, ftdemo, source, understood

from ftdemo.data.rows import read_rows
from ftdemo.experiments.spec import find_experiments
from ftdemo.serving.server import demo_names
from ftdemo.site.blocks import Block, blocks
from ftdemo.site.check import code_problems
from ftdemo.site.project import Project

PROJECT = Project(ROOT)
ENDINGS = {"json": "jsonl", "powershell": "ps1", "python": "py", "sh": "sh", "text": "txt", "yaml": "yaml"}
"""The ending of the file for each language of a block."""
NOT_RUN = {
    "calculators/estimate.sh": "names files of the reader, and times steps for a minute; tests/estimate tries both",
    "deploy-a-demo/local.sh": "serves until it is stopped",
    "deploy-a-demo/try.sh": "installs a Space in an environment of its own, as `make spaces` does",
    "deploy-a-demo/upload.sh": "needs an account on the Hub",
    "enterprise-workflow/change.sh": "trains SmolLM2 for many minutes, by the recipe of train.sh with other settings",
    "enterprise-workflow/compare.sh": "trains SmolLM2 for many minutes, and names files of the reader",
    "enterprise-workflow/workflow.sh": "trains SmolLM2 for many minutes; tests/comparison tries a plan on tiny",
    "fine-tuning/own_data.sh": "names a file of the reader",
    "fine-tuning/overfit.sh": "trains for minutes",
    "fine-tuning/record.sh": "trains for hours",
    "fine-tuning/train.sh": "trains for minutes, and serves until it is stopped",
    "first-fine-tune/change.sh": "trains for minutes, by the recipe of train.sh with one other setting",
    "first-fine-tune/install.sh": "installs everything, and serves until it is stopped",
    "index/install.sh": "fetches the repository, and serves until it is stopped",
    "lora/own_data.sh": "names a file of the reader",
    "lora/train.sh": "trains for minutes, and serves until it is stopped",
    "overfitting/overfit.sh": "trains for a minute",
    "pre-training/own_data.sh": "names a file of the reader",
    "pre-training/train.sh": "trains for minutes",
    "prompting-rag-or-fine-tuning/chat.sh": "a conversation; first-fine-tune/chat.sh is tried",
    "prompting-rag-or-fine-tuning/compare.sh": "trains SmolLM2 for many minutes; tests/comparison compares on tiny",
    "prompting-rag-or-fine-tuning/own_data.sh": "names files of the reader",
    "prompting-rag-or-fine-tuning/with_fact.txt": "a prompt for an assistant of the reader's",
    "prompting-rag-or-fine-tuning/with_format.txt": "a prompt for an assistant of the reader's",
    "prompting-rag-or-fine-tuning/without_fact.txt": "a prompt for an assistant of the reader's",
    "publish-the-site/build.sh": "builds the whole site; every test of the server builds it, too",
    "publish-the-site/zensical.sh": "builds the whole site; tests/serving/test_browser.py does so with Zensical",
    "readme/start.sh": "installs everything, and serves until it is stopped",
    "readme/windows.ps1": "needs Windows",
    "sft/own_data.sh": "names a file of the reader",
    "sft/train.sh": "trains for minutes",
    "transfer-learning/other_sources.sh": "trains for hours",
    "transfer-learning/own_data.sh": "names a file of the reader",
    "transfer-learning/train.sh": "trains for minutes",
    "troubleshooting/look.sh": "names a file of the reader; your-own-data/inspect.sh is tried",
    "use-it-elsewhere/export.sh": "needs a run of the reader's; tests/runs/test_save.py exports others",
    "use-it-elsewhere/llama_cpp.sh": "needs llama.cpp",
    "use-it-elsewhere/ollama.sh": "needs Ollama",
    "use-it-elsewhere/trainers.sh": "needs a run of the reader's; tests/runs/test_elsewhere.py exports others",
    "use-it-elsewhere/upload.sh": "needs an account on the Hub",
    "use-it-elsewhere/vllm.sh": "needs vLLM and a GPU",
    "your-own-data/folder.sh": "trains SmolLM2 for minutes, on a file of the reader",
    "your-own-data/half.sh": "trains SmolLM2 for minutes, on a file of the reader",
    "your-own-data/train.sh": "trains SmolLM2 for minutes, on a file of the reader",
}
"""Files that no test runs, and why. Their commands and options are read all the same."""


def code_of(page: Path) -> list[Block]:
    """The blocks of a page but for formulas."""
    return [block for block in blocks(page.read_text(encoding="utf-8")) if block.language != "math"]


def topic_of(page: Path) -> str:
    """The name of a page's folder in docs_src."""
    return page.parent.name if page.stem == "index" and page.parent != PROJECT.docs else page.stem


PAGES = {topic_of(page): page for page in PROJECT.pages() if code_of(page)}
FILES = sorted(path.relative_to(SOURCES).as_posix() for path in SOURCES.rglob("*") if path.is_file())
SHELL = [name for name in FILES if name.endswith(".sh")]
DATA = [name for name in FILES if name.endswith(".jsonl")]
README = [name for name in FILES if name.startswith("readme/")]


@pytest.mark.parametrize("topic", PAGES)
def test_a_page_includes_each_of_its_blocks_from_a_file_of_its_own(topic: str) -> None:
    for block in code_of(PAGES[topic]):
        written = re.fullmatch(r'--8<-- "(?P<topic>[^/"]+)/[^/"]+\.(?P<ending>\w+)"', block.code.strip())
        assert written, f"{PAGES[topic].name}:{block.line}: put the block into a file in docs_src/{topic}"
        assert (written["topic"], written["ending"]) == (topic, ENDINGS[block.language])


def test_every_file_is_shown_once() -> None:
    shown = [block.code.strip()[8:-1] for page in PAGES.values() for block in code_of(page)]
    assert sorted(shown) == [name for name in FILES if name not in README]


def test_the_readme_has_the_same_blocks_as_its_files() -> None:
    shown = code_of(ROOT / "README.md")
    assert sorted((ENDINGS[block.language], block.code) for block in shown) == sorted(
        (name.rpartition(".")[2], source(name)) for name in README
    )


@pytest.mark.parametrize("topic", PAGES)
def test_the_code_of_a_page_can_be_read_and_python_prints_what_the_page_shows(topic: str) -> None:
    assert list(code_problems(PAGES[topic], PROJECT)) == []


def own_test(name: str) -> str:
    """The test that mirrors a file's page; empty if there is none."""
    path = Path(__file__).with_name(f"test_{name.partition('/')[0].replace('-', '_')}.py")
    return path.read_text(encoding="utf-8") if path.exists() else ""


def runs_alone(name: str) -> bool:
    """Whether a file is Python that its page does not excuse, or what such Python prints."""
    python = f"{name.rpartition('.')[0]}.py"
    topic = name.partition("/")[0]
    return topic in PAGES and any(
        block.code.strip() == f'--8<-- "{python}"' and not block.excuse for block in code_of(PAGES[topic])
    )


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_tried_or_excused(name: str) -> None:
    tried = runs_alone(name) or name in DATA or f'"{name}"' in own_test(name)
    assert tried != (name in NOT_RUN), "try it in the test of its page, or say in NOT_RUN why not; not both"


def test_every_excuse_is_about_a_file() -> None:
    assert set(NOT_RUN) <= set(FILES)


def targets() -> set[str]:
    return set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("name", SHELL)
def test_shell_commands_are_such_as_the_shell_ftdemo_and_make_know(name: str) -> None:
    subprocess.run(["bash", "-n", SOURCES / name], check=True)
    for words in commands(name):
        match words:
            case ["ftdemo", "train", *_]:
                ftdemo([*words, "--show"])
            case ["ftdemo", *arguments]:
                understood(arguments)
            case ["make", target]:
                assert target in targets()


def values_of(command: str, parameter: str) -> set[str]:
    """What all pages name where a command takes a name."""
    found = [
        understood(words[1:])[parameter]
        for name in SHELL
        for words in commands(name)
        if words[:2] == ["ftdemo", command]
    ]
    return {value for each in found for value in ([each] if isinstance(each, str) else each)}


def test_demos_experiments_and_data_that_shell_commands_name_are_there() -> None:
    assert values_of("demo", "name") <= {*demo_names()}
    assert values_of("record", "names") <= set(find_experiments(ROOT / "docs" / "experiments"))
    assert values_of("compare", "what") <= {"tickets", "handbook", "mine", "mine.jsonl"}


@pytest.mark.parametrize("name", DATA)
def test_examples_are_such_as_ftdemo_reads(name: str) -> None:
    assert len(read_rows(SOURCES / name)) == len(source(name).splitlines())


def test_extras_that_windows_installs_are_there() -> None:
    extras = re.search(r"\.\[(.*?)\]", source("readme/windows.ps1"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert extras is not None
    assert set(extras[1].split(",")) <= set(project["optional-dependencies"])
