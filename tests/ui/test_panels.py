"""What a model or a visitor wrote is text on a demo's page, never HTML."""

from __future__ import annotations

import json

import pytest

from ftdemo import charts
from ftdemo.errors import UsageError
from ftdemo.events import Answer, Sampled
from ftdemo.runs.adapters import ScoredToken
from ftdemo.ui import panels

HOSTILE = """<img src=x onerror=alert(1)> & "quoted" 'text'"""
SAMPLED = Sampled(0, tuple(Answer(HOSTILE, HOSTILE, HOSTILE, stopped=True) for _ in range(5)), {}, 1.0)
_OBJECT = json.dumps({HOSTILE: HOSTILE.replace('"', "'")})
HOSTILE_JSON = Sampled(0, (Answer(HOSTILE, _OBJECT, _OBJECT, stopped=True),), {}, 1.0)


@pytest.mark.parametrize(
    "html",
    [
        panels.status_line(HOSTILE),
        panels.error_line(UsageError(HOSTILE, HOSTILE)),
        panels.rejected_rows([HOSTILE], complete=False),
        panels.findings_list([(HOSTILE, HOSTILE)]),
        panels.marked_tokens([(HOSTILE, True), (HOSTILE, False)]),
        panels.figures({HOSTILE: HOSTILE}),
        panels.html_table([["", HOSTILE], [HOSTILE, HOSTILE]]),
        panels.answers_side_by_side(HOSTILE, [(HOSTILE, HOSTILE, HOSTILE)]),
        panels.before_and_after(HOSTILE, HOSTILE, HOSTILE),
        panels.sampled_answers(SAMPLED, None, HOSTILE),
        panels.sampled_answers(SAMPLED, SAMPLED),
        panels.sampled_answers(HOSTILE_JSON, HOSTILE_JSON),
        panels.token_levels([ScoredToken(HOSTILE, -0.1, -3.0)]),
    ],
)
def test_every_panel_shows_a_hostile_text_as_text(html: str) -> None:
    assert "<img" not in html
    assert "&lt;img src=x onerror=alert(1)&gt; &amp; &#34;quoted&#34; &#39;text&#39;" in html


def test_a_picture_beside_a_panel_stays_a_picture() -> None:
    both = panels.html_table([["", "LoRA"], ["Loss", "1.2"]]) + charts.score_chart({"log": 0.1}, {"log": 0.9})
    assert "<table" in both
    assert "<svg" in both


def test_three_answers_are_visible_at_once_and_the_others_unfold() -> None:
    html = panels.sampled_answers(SAMPLED, SAMPLED)
    visible, _, folded = html.partition("<details>")
    assert visible.count("<article>") == 3
    assert folded.count("<article>") == 2
    assert "2 more" in folded


def test_a_token_that_the_adapter_makes_much_more_likely_has_a_stronger_colour() -> None:
    html = panels.token_levels(
        [ScoredToken("the", -0.1, -0.3), ScoredToken("same", -0.1, -3.0), ScoredToken("", -0.1, -9.0)]
    )
    shown = html.partition("ft-legend")[0]
    assert [f"ft-level-{level}" in shown for level in range(4)] == [True, False, True, True]
    assert 'title="90% with the adapter, 0.012% without it">■ stop' in html
    assert "10 to 100 times" in html
