"""What the commands say about themselves, and what they load to say it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from ftdemo.cli.main import main

WORDS = 12
HEAVY = {"torch", "transformers", "gradio", "peft", "datasets"}


def contexts(command: click.Command, parent: click.Context | None = None) -> Iterator[click.Context]:
    """A command and all those below it."""
    context = click.Context(command, parent=parent, info_name=command.name)
    yield context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from contexts(below, context)


COMMANDS = {context.command_path: context for context in contexts(main)}


@pytest.mark.parametrize("path", COMMANDS)
def test_a_command_and_each_of_its_options_is_explained_in_at_most_twelve_words(path: str) -> None:
    context = COMMANDS[path]
    summary = (context.command.help or "").split("\n\n")[0]
    helps = {
        option.opts[0]: option.help or ""
        for option in context.command.get_params(context)
        if isinstance(option, click.Option)
    }
    for name, text in {"the command": summary, **helps}.items():
        assert 1 <= len(text.split()) <= WORDS, f"{name}: {text}"
        assert text[0].isupper(), f"{name}: {text}"
        assert text.endswith("."), f"{name}: {text}"


@pytest.mark.parametrize("group", [[], ["site"], ["spaces"]])
def test_a_list_of_commands_cuts_no_explanation_short(group: list[str]) -> None:
    done = CliRunner().invoke(main, [*group, "--help"], terminal_width=80)
    assert done.exit_code == 0
    assert "..." not in done.stdout.replace("[ARGS]...", "")


@pytest.mark.parametrize("path", [path for path in COMMANDS if path.count(" ") < 2])
def test_help_loads_no_torch_no_transformers_and_no_gradio(path: str) -> None:
    code = (
        "import sys; from ftdemo.cli.main import main; main(standalone_mode=False);"
        f"print('loaded:', {HEAVY} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, *path.split()[1:], "--help"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, timeout=120)
    assert done.stdout.endswith("loaded: set()\n")


def test_a_command_loads_no_other_commands_module() -> None:
    code = (
        "import sys; from ftdemo.cli.main import main; main(['chat', '-h'], standalone_mode=False); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True, timeout=120)
    loaded = {name for name in done.stdout.split() if name.startswith("ftdemo.cli.")}
    assert loaded == {"ftdemo.cli.main", "ftdemo.cli.terminal", "ftdemo.cli.chat"}


def test_a_list_of_commands_needs_no_recipe() -> None:
    code = "import sys; from ftdemo.cli.main import main; main(['-h'], standalone_mode=False); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True, timeout=120)
    assert not {"ftdemo.recipe", "pydantic", "yaml"} & set(done.stdout.split())
