"""Files and folders that exist under their name only once they are whole."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """A place for a new file or folder, which takes the target's name when the block ends without an error.

    The place is beside the target, because a rename is one step only within a file system.

    Args:
        target: What is to be written. Its parent folders are made.
        replace: Whether a folder that has this name already makes way.

    Yields:
        A path at which there is nothing yet. Its last part is the target's name.

    Raises:
        OSError: If it cannot be written, or the target is a folder that does not make way.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as temporary:
        new = Path(temporary) / target.name
        yield new
        if replace and target.exists():
            target.replace(Path(temporary) / "old")
        new.replace(target)
