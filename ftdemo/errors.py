"""The one family of errors: what is wrong, where, what was expected and what to do about it.

Every face (shell, demo) catches `FtdemoError` and shows its text, so a user's mistake never ends in a traceback.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError

STOPPED_BY_CTRL_C = 130
"""The exit code of a command that the user stopped, as shells have it."""


class FtdemoError(Exception):
    """Something went wrong that the user can fix.

    Args:
        what: What is wrong and where (file, row, key), in a sentence.
        remedy: What to do about it, in a sentence.
    """

    exit_code = 1

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}\n{remedy}")
        self.what = what
        self.remedy = remedy


class UsageError(FtdemoError):
    """The request itself is wrong: an unknown key, a value out of range, a file that is not there."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe that cannot be carried out as written."""


class DataError(UsageError):
    """A data file that cannot be read, or that holds nothing to train on."""


class ModelError(FtdemoError):
    """A model that cannot be found, or that this method cannot train."""


class TrainingError(FtdemoError):
    """A run that went wrong while it was training."""


class StorageError(FtdemoError):
    """A result that could not be written."""


class ServerError(FtdemoError):
    """A server that could not be started."""


@contextmanager
def writing(place: Path | str, remedy: str) -> Iterator[None]:
    """Within this, an error from the file system means that a file or folder cannot be written.

    Args:
        place: The file or folder; or words for it, where the user does not know the folders of this machine.
        remedy: What to do about it.

    Raises:
        StorageError: With the system's reason.
    """
    try:
        yield
    except Exception as error:
        refused = as_os_error(error)
        if refused is None:
            raise
        raise StorageError(f"{place} cannot be written: {system_reason(refused)}.", remedy) from None


def as_os_error(error: Exception) -> OSError | None:
    """The file system's error behind an exception, if there is one.

    Libraries written in Rust raise exceptions of their own for it, which give the system's number in their text:
    safetensors a `SafetensorError`, tokenizers a bare `Exception`.
    """
    if isinstance(error, OSError):
        return error
    if isinstance(error, FtdemoError):  # it may quote the system's number, and has its own remedy
        return None
    number = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else None


def system_reason(error: OSError) -> str:
    """Why the system refused, in its own words, without its number."""
    return "the disk is full" if error.errno == errno.ENOSPC else str(error.strerror or error)


def shell_line(*words: str) -> str:
    """A command to copy into a shell of this system, with quotes round the words that need them.

    The shells of Windows know double quotes only, and a backslash is part of a path there.
    """
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def first_line(error: BaseException) -> str:
    """The first line of what an error of another library says, without a full stop; else the error's kind."""
    line = next(iter(str(error).strip().splitlines()), "").strip().rstrip(".")
    return line or type(error).__name__


def first_problem(error: ValidationError) -> str:
    """The first thing wrong with what a user wrote, without a full stop."""
    return describe_problem(error.errors(include_url=False)[0])


def describe_problem(problem: Mapping[str, Any], key: str | None = None) -> str:
    """One of the problems that pydantic lists, without a full stop: "`rank` is 0, but it should be greater than 0".

    Args:
        problem: Has ``loc``, ``msg`` and ``input``.
        key: What to call the wrong key, if not by its whole path.
    """
    key = key or ".".join(map(str, problem["loc"]))
    expected = re.sub(r"^\w+ should", "it should", problem["msg"])
    if expected == problem["msg"]:  # a key that is missing or unknown, or a rule of our own
        return f"`{key}`: {expected}"
    return f"`{key}` is {problem['input']!r}, but {expected}"
