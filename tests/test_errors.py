from pathlib import Path

import pytest
from pydantic import BaseModel, Field, ValidationError

from ftdemo.errors import StorageError, first_problem, writing


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


def test_a_full_disk_is_called_full() -> None:
    with pytest.raises(StorageError, match="the disk is full"), writing(Path("/dev/full"), "Make room."):
        Path("/dev/full").write_text("x", encoding="utf-8")
