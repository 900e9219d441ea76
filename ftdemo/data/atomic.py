"""Files and folders that exist under their name only once they are whole, and whether there is a place for them."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ftdemo.errors import StorageError, UsageError, writing

_PREFIX = ".ftdemo-"


@contextmanager
def atomic_write(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """A place for a new file or folder, which takes the target's name when the block ends without an error.

    The place is beside the target, because a rename is one step only within a file system.

    Args:
        target: What is to be written. Its parent folders are made.
        replace: Whether a file makes way for a new file, and a folder for a new folder. Otherwise what has this name
            is left alone, even if it appears before the block ends.

    Yields:
        A path at which there is nothing yet. Its last part is the target's name.

    Raises:
        OSError: If it cannot be written, or something has the target's name that does not make way.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:  # which says nothing about the folder that is wanted
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(target.parent)) from None
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=_PREFIX) as temporary:
        new = Path(temporary) / target.name
        yield new
        if replace:
            _replace(target, new, Path(temporary) / f"{_PREFIX}old")
        else:
            _add(target, new)


def _add(target: Path, new: Path) -> None:
    """Give `new` the target's name, which nothing may have."""
    if new.is_dir():
        with suppress(OSError):
            target.rmdir()  # Windows renames nothing onto an empty folder
        new.rename(target)  # fails where there is a file, or a folder that holds something
        return
    try:
        os.link(new, target)
    except FileExistsError:
        raise
    except OSError:  # not every file system has links
        if target.exists():
            raise
        new.rename(target)


def _replace(target: Path, new: Path, old: Path) -> None:
    """Give `new` the target's name; the file or folder that had it comes back where that fails."""
    if not new.is_dir() and target.exists() and not target.is_file():
        what = "a folder" if target.is_dir() else "a device"  # a file makes way for a file only
        raise FileExistsError(errno.EEXIST, f"it is {what}", str(target))
    if not target.is_dir():
        new.replace(target)
        return
    target.rename(old)
    try:
        new.rename(target)
    except OSError:
        old.rename(target)
        raise


def require_place(target: Path, remedy: str) -> None:
    """Make sure, before any work is done, that a new file or folder can be written.

    Args:
        target: The file or folder. Nothing may be there.
        remedy: What to do about a wrong place.

    Raises:
        UsageError: If something is there, or a file or a broken link is where a folder should be.
        StorageError: If the system does not let us write there.
    """
    absolute = target.absolute()
    with writing(target, remedy):
        folder = _existing_folder(absolute)
        if absolute == folder:
            raise UsageError(f"{target} already exists.", f"ftdemo does not overwrite it. {remedy}")
        if not folder.is_dir():
            raise UsageError(f"{target} cannot be written: {folder} is a file, not a folder.", remedy)
        missing = absolute.relative_to(folder).parts
        link = folder / missing[0]
        if link.is_symlink():
            broken = f"{link} is a link to {link.readlink()}, which does not exist"
            raise UsageError(f"{target} cannot be written: {broken}.", remedy)
        for part in missing:
            with suppress(FileNotFoundError):
                (folder / part).lstat()  # fails where a name is too long
        require_writable(folder, remedy)


def require_writable(folder: Path, remedy: str) -> None:
    """Make sure that something new can be written into a folder.

    Raises:
        StorageError: If the system refuses.
    """
    with writing(folder, remedy), tempfile.TemporaryDirectory(dir=folder, prefix=_PREFIX):
        pass  # permissions do not tell everything: the disk may be read-only


def require_space(target: Path, needed: float, what: str, remedy: str) -> None:
    """Make sure that a file or folder has room, before it is written.

    Args:
        target: The file or folder.
        needed: Bytes.
        what: What needs them, to begin a sentence.
        remedy: What to do where there is less.

    Raises:
        StorageError: If the disk has less room.
    """
    folder = _existing_folder(target.absolute())
    free = shutil.disk_usage(folder).free
    if free < needed:
        needs = f"{what} needs about {needed / 1e6:,.0f} MB"
        raise StorageError(f"{needs}, but the disk that holds {folder} has {free / 1e6:,.0f} MB left.", remedy)


def _existing_folder(place: Path) -> Path:
    """The place itself, or the nearest of its parents that is there."""
    for each in (place, *place.parents):
        with suppress(OSError):
            each.stat()
            return each
    return place
