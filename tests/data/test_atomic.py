import os
import shutil
from pathlib import Path

import pytest

from ftdemo.data.atomic import atomic_write, require_place, require_space
from ftdemo.errors import FtdemoError, StorageError, UsageError


def test_a_folder_has_its_name_only_once_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "run"
    with atomic_write(target) as new:
        new.mkdir()
        (new / "record").write_text("whole", encoding="utf-8")
        assert not target.exists()
    assert (target / "record").read_text(encoding="utf-8") == "whole"
    assert list(target.parent.iterdir()) == [target]


def write_half(path: Path) -> None:
    path.write_text("ne", encoding="utf-8")
    raise ZeroDivisionError


@pytest.mark.parametrize("replace", [True, False])
def test_nothing_changes_where_writing_fails(tmp_path: Path, replace: bool) -> None:
    target = tmp_path / "rows.jsonl"
    target.write_text("old", encoding="utf-8")
    with pytest.raises(ZeroDivisionError), atomic_write(target, replace=replace) as new:
        write_half(new)
    assert [path.read_text(encoding="utf-8") for path in tmp_path.iterdir()] == ["old"]


def test_a_folder_makes_way_only_where_it_is_to_be_replaced(tmp_path: Path) -> None:
    target = tmp_path / "run"
    for text in ("old", "new"):
        with atomic_write(target, replace=True) as new:
            new.mkdir()
            (new / text).touch()
    assert [path.name for path in target.iterdir()] == ["new"]
    with pytest.raises(OSError, match="not empty"), atomic_write(target) as new:
        new.mkdir()
    assert [path.name for path in target.iterdir()] == ["new"]


def test_a_file_makes_way_only_where_it_is_to_be_replaced(tmp_path: Path) -> None:
    target = tmp_path / "rows.jsonl"
    for text in ("old", "new"):
        with atomic_write(target, replace=True) as new:
            new.write_text(text, encoding="utf-8")
    with pytest.raises(FileExistsError), atomic_write(target) as new:
        new.write_text("newest", encoding="utf-8")
    assert [path.read_text(encoding="utf-8") for path in tmp_path.iterdir()] == ["new"]


def test_a_folder_never_makes_way_for_a_file(tmp_path: Path) -> None:
    target = tmp_path / "docs"
    target.mkdir()
    (target / "mine").touch()
    with pytest.raises(FileExistsError, match="it is a folder"), atomic_write(target, replace=True) as new:
        new.write_text("new", encoding="utf-8")
    assert [path.name for path in target.iterdir()] == ["mine"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_that_appears_meanwhile_is_kept_also_where_the_disk_has_no_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    target = tmp_path / "rows.jsonl"
    with atomic_write(target) as new:
        new.write_text("first", encoding="utf-8")
    with pytest.raises(PermissionError), atomic_write(target) as new:
        new.write_text("second", encoding="utf-8")
    assert target.read_text(encoding="utf-8") == "first"


def test_what_made_way_comes_back_where_its_successor_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "run"
    target.mkdir()
    (target / "old").touch()
    rename = Path.rename

    def refuse_new(path: Path, to: Path) -> Path:
        if path.name == "run" and path != target:
            raise PermissionError
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", refuse_new)
    with pytest.raises(PermissionError), atomic_write(target, replace=True) as new:
        new.mkdir()
    assert [path.name for path in target.iterdir()] == ["old"]


def test_a_name_may_be_as_long_as_the_system_lets_it_be(tmp_path: Path) -> None:
    target = tmp_path / ("n" * 255)
    require_place(target, "Name another.")
    with atomic_write(target) as new:
        new.touch()
    assert target.exists()


@pytest.mark.parametrize(
    ("place", "kind", "why"),
    [
        ("file", UsageError, "already exists"),
        ("folder", UsageError, "already exists"),
        ("file/run", UsageError, r"file is a file, not a folder"),
        ("file/runs/run", UsageError, r"file is a file, not a folder"),
        ("link", UsageError, r"link is a link to .*gone, which does not exist"),
        ("link/run", UsageError, r"link is a link to .*gone, which does not exist"),
        ("n" * 300, StorageError, "File name too long"),
        ("folder/" + "n" * 300 + "/run", StorageError, "File name too long"),
    ],
)
def test_a_place_where_nothing_can_be_written_is_refused_before_any_work(
    tmp_path: Path, place: str, kind: type[FtdemoError], why: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(kind, match=rf"(?s){why}.*Name another\."):
        require_place(tmp_path / place, "Name another.")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "link"]


def test_a_folder_that_nothing_may_be_written_into_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(StorageError, match=f"{tmp_path} cannot be written: Read-only file system"):
        require_place(tmp_path / "run", "Name another.")


@pytest.mark.parametrize("place", ["run", "folder/run", "new/run", "new/folder"])
def test_a_place_that_is_free_passes_and_nothing_stays_there(tmp_path: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()
    require_place(tmp_path / place, "Name another.")
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


def test_room_is_asked_for_where_the_file_will_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    free = {tmp_path: usage._replace(free=40_000_000)}
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: free.get(folder, usage))
    require_space(tmp_path / "new" / "run", 40e6, "This run", "Make room.")
    expected = rf"This run needs about 100 MB, but the disk that holds {tmp_path} has 40 MB left\.\nMake room\."
    with pytest.raises(StorageError, match=expected):
        require_space(tmp_path / "new" / "run", 100e6, "This run", "Make room.")
