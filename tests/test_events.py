import json
from typing import get_args

import pytest
from conftest import STARTED

from ftdemo.events import Answer, Evaluated, Event, Finished, Sampled, Step, from_dict, to_dict

EVENTS: list[Event] = [
    STARTED,
    Step(step=1, total_steps=36, epoch=0.25, loss=2.5, lr=4e-3, grad_norm=1.5, tokens=300, seconds=2.0),
    Evaluated(step=20, loss=1.25, bits_per_byte=0.75),
    Sampled(
        step=36,
        answers=(Answer("Où est ma lampe?", "Sighted: …", "Tide: soon.", stopped=True), Answer("a\nb", "", "c", False)),
        scores={"stopped": 0.5, "format": 0.25},
        seconds=3.5,
    ),
    Finished(
        "completed", 36, tokens=9000, seconds=60.0, tokens_per_second=150.0, peak_memory_bytes=2**30, best_step=20
    ),
]


def test_every_kind_of_event_is_tried_here() -> None:
    assert {type(event) for event in EVENTS} == set(get_args(Event))


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_comes_back_from_json_as_it_was(event: Event) -> None:
    assert from_dict(json.loads(json.dumps(to_dict(event)))) == event


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_reading_an_event_leaves_the_record_as_it_was(event: Event) -> None:
    record = to_dict(event)
    from_dict(record)
    assert record == to_dict(event)


def test_the_json_says_which_event_it_is() -> None:
    assert to_dict(Evaluated(step=20, loss=1.25)) == {
        "event": "evaluated",
        "step": 20,
        "loss": 1.25,
        "bits_per_byte": None,
    }


def test_an_event_of_a_record_of_version_1_is_read() -> None:
    """Records of version 1 know no baselines, bits a byte or best step."""
    new = {"baselines", "bits_per_byte", "best_step"}
    for event in EVENTS:
        old = {key: value for key, value in to_dict(event).items() if key not in new}
        assert type(from_dict(old)) is type(event)


def test_a_kind_of_event_that_does_not_exist_is_refused() -> None:
    with pytest.raises(KeyError, match="exploded"):
        from_dict({"event": "exploded", "step": 1})


@pytest.mark.parametrize(("tokens", "seconds", "speed"), [(300, 2.0, 150.0), (0, 2.0, 0.0), (300, 0.0, 0.0)])
def test_speed_is_tokens_over_seconds_and_zero_before_any_time_has_passed(
    tokens: int, seconds: float, speed: float
) -> None:
    step = Step(step=1, total_steps=2, epoch=0.5, loss=2.5, lr=4e-3, grad_norm=1.0, tokens=tokens, seconds=seconds)
    assert step.tokens_per_second == speed
