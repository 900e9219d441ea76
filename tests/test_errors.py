from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import BaseModel, Field, ValidationError

from ftdemo.errors import ModelError, StorageError, first_problem, shell_line, writing


class Plan(BaseModel, extra="forbid"):
    data: str
    shares: dict[str, float] = Field(default_factory=dict)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"data": "a", "shares": {"b": "many"}}, "`shares.b` is 'many', but it should be a valid number"),
        ({}, "`data`: Field required"),
        ({"data": "a", "datta": 1}, "`datta`: Extra inputs are not permitted"),
    ],
)
def test_the_first_thing_wrong_with_a_file_is_named_with_its_key_and_value(
    values: dict[str, object], said: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        Plan.model_validate(values)
    assert first_problem(caught.value).startswith(said)


def test_what_cannot_be_written_is_named_with_the_systems_reason_and_a_remedy(tmp_path: Path) -> None:
    place = tmp_path / "no" / "where.txt"
    with pytest.raises(StorageError) as caught, writing(place, "Name another file."):
        place.write_text("", encoding="utf-8")
    assert str(caught.value) == f"{place} cannot be written: No such file or directory.\nName another file."


@pytest.mark.parametrize(("system", "line"), [("posix", "ftdemo chat 'my run'"), ("nt", 'ftdemo chat "my run"')])
def test_a_command_is_quoted_as_the_systems_shell_reads_it(
    system: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("os.name", system)
        assert shell_line("ftdemo", "chat", "my run") == line


def test_a_full_disk_is_called_full() -> None:
    with pytest.raises(StorageError, match="the disk is full"), writing(Path("/dev/full"), "Make room."):
        Path("/dev/full").write_text("x", encoding="utf-8")


def save_tensor(file: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(4096)}, file)


def save_tokenizer(file: Path) -> None:
    from ftdemo.models.load import load_tokenizer, resolve

    load_tokenizer(resolve("tiny")).save_pretrained(file)


@pytest.mark.parametrize("save", [save_tensor, save_tokenizer])
def test_the_systems_refusal_is_found_also_where_a_library_has_an_exception_of_its_own_for_it(
    tmp_path: Path, small_files: None, save: Callable[[Path], None]
) -> None:
    with pytest.raises(StorageError, match="cannot be written: File too large") as caught, writing(tmp_path, "Go."):
        save(tmp_path / "written")
    assert str(caught.value) == f"{tmp_path} cannot be written: File too large.\nGo."


def test_a_full_disk_is_called_full_also_by_its_number_alone(tmp_path: Path) -> None:
    """As tokenizers raises it."""
    with pytest.raises(StorageError, match="the disk is full"), writing(tmp_path, "Make room."):
        raise Exception("No space left on device (os error 28)")


def test_an_error_of_our_own_keeps_its_remedy_although_it_quotes_the_system(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"Download it again\."), writing(tmp_path, "Make room."):
        raise ModelError("The model cannot be read: No such file or directory (os error 2).", "Download it again.")


def test_an_error_that_is_not_the_file_systems_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), writing(tmp_path, "Make room."):
        raise ZeroDivisionError
