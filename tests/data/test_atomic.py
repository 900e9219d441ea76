from pathlib import Path

import pytest

from ftdemo.data.atomic import atomic_write


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
