import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from conftest import STARTED

from ftdemo import charts
from ftdemo.charts import Point
from ftdemo.errors import UsageError
from ftdemo.events import Evaluated, Event, Started, Step

SVG = "{http://www.w3.org/2000/svg}"
BEFORE, AFTER = {"format": 0.0, "voice": 0.5}, {"format": 0.92, "voice": 1.0}


def _started(total_steps: int) -> Started:
    started: Started = replace(STARTED, total_steps=total_steps)
    return started


def _run(steps: int, of: int = 40) -> list[Event]:
    """The first steps of a run whose loss starts at 3.21 and falls by 0.05 a step."""
    taken = [Step(n, of, n / of, 3.26 - 0.05 * n, 4e-3, 1.0, 100 * n, 0.5 * n) for n in range(1, steps + 1)]
    return [_started(of), Evaluated(step=0, loss=2.87), *taken, Evaluated(step=steps, loss=1.43)]


def _dot(svg: str, label: str) -> ElementTree.Element:
    return next(
        mark for mark in ElementTree.fromstring(svg).iter() if mark.findtext(f"{SVG}title", "").startswith(label)
    )


SURE = Point(0, 0.9, 0.9, 0.9, (0.9,))
CURVE = [Point(x, 0.2 + x / 1000, 0.1, 0.9) for x in (0, 8, 32, 128, 400)]
PICTURES = {
    "loss": charts.loss_chart(_run(40)),
    "loss of no events": charts.loss_chart([]),
    "loss before the first step": charts.loss_chart([_started(40)]),
    "loss of one step": charts.loss_chart(_run(1, of=1)),
    "loss beside other models": charts.curve_chart([(1, 5.0), (2, 4.0)], [(2, 4.5)], 2, levels={"by chance": 6.9}),
    "arms": charts.arms_chart({"rank 1": Point(0, 0.5, 0.1, 1.4, (0.4, 0.6)), "rank 64": SURE}, "Score", "0 to 1"),
    "no arms": charts.arms_chart({}, "Score"),
    "five lines": charts.lines_chart(dict.fromkeys("abcde", CURVE), "Score", x_label="examples", log=True),
    "a line of one point": charts.lines_chart({"LoRA": [SURE]}, "Score", x_label="examples"),
    "no lines": charts.lines_chart({}, "Score", x_label="examples"),
    "scores": charts.score_chart(BEFORE, AFTER),
    "no scores": charts.score_chart({}, {}),
}


@pytest.mark.parametrize("svg", PICTURES.values(), ids=PICTURES.keys())
def test_a_chart_is_well_formed_and_is_an_image_with_a_label(svg: str) -> None:
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    assert root.get("aria-label", "").strip()


@pytest.mark.parametrize("svg", PICTURES.values(), ids=PICTURES.keys())
def test_a_chart_loads_nothing_and_runs_nothing(svg: str) -> None:
    assert svg.count("http") == 1, "the namespace alone"
    assert not re.search(r"<script|<image|<use|href|url\(|\son\w+=", svg)


@pytest.mark.parametrize("svg", PICTURES.values(), ids=PICTURES.keys())
def test_every_mark_of_a_chart_lies_within_it(svg: str) -> None:
    root = ElementTree.fromstring(svg)
    _, _, width, height = map(float, root.get("viewBox", "").split())
    for mark in root.iter():
        for across in ("x", "x1", "x2", "cx"):
            assert 0 <= float(mark.get(across, 0)) <= width, ElementTree.tostring(mark)
        for down in ("y", "y1", "y2", "cy"):
            assert 0 <= float(mark.get(down, 0)) <= height, ElementTree.tostring(mark)


def test_the_label_of_the_loss_chart_tells_the_first_and_the_last_values() -> None:
    label = ElementTree.fromstring(charts.loss_chart(_run(40), title="Loss")).get("aria-label", "")
    assert label.startswith("Loss. ")
    assert "3.21 at step 1" in label
    assert "1.26 at step 40" in label
    assert "2.87 at step 0" in label
    assert "1.43 at the last evaluation" in label


def test_the_label_of_the_score_chart_tells_every_score_before_and_after() -> None:
    label = ElementTree.fromstring(charts.score_chart(BEFORE, AFTER)).get("aria-label", "")
    assert "format 0.00 before, 0.92 after" in label
    assert "voice 0.50 before, 1.00 after" in label


def test_a_score_chart_names_scores_in_words() -> None:
    svg = charts.score_chart({"valid_json": 0.1}, {"valid_json": 0.9, "exact_match": 0.5})
    assert "valid JSON" in svg
    assert "exact match" in svg
    assert "_" not in "".join(ElementTree.fromstring(svg).itertext())


def test_a_chart_of_no_events_says_that_nothing_has_happened() -> None:
    assert "No step has been taken yet." in charts.loss_chart([])


def test_a_run_in_progress_is_drawn_on_the_axis_of_the_whole_plan() -> None:
    svg = charts.loss_chart(_run(3))
    numbers = [text.text for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    assert "40" in numbers


def test_a_step_stays_in_its_place_while_the_run_goes_on() -> None:
    early, late = charts.loss_chart(_run(3)), charts.loss_chart(_run(40))
    assert _dot(early, "step 3:").get("cx") == _dot(late, "step 3:").get("cx")


def test_a_lower_loss_is_drawn_lower() -> None:
    svg = charts.loss_chart(_run(40))
    assert float(_dot(svg, "step 40:").get("cy", 0)) > float(_dot(svg, "step 1:").get("cy", 0))


def test_a_bar_is_as_long_as_its_score() -> None:
    bars = ElementTree.fromstring(charts.score_chart({"voice": 0.5}, {"voice": 1.0})).iter(f"{SVG}rect")
    before, after = (float(bar.get("width", 0)) for bar in bars)
    assert after == pytest.approx(2 * before, abs=0.2)


def test_what_others_wrote_is_escaped() -> None:
    nasty = """<b onclick="x">&'"""
    for svg in (charts.loss_chart([], title=nasty), charts.score_chart({nasty: 0.1}, {nasty: 0.9}, title=nasty)):
        root = ElementTree.fromstring(svg)
        assert nasty in root.get("aria-label", "")
        assert nasty in [text.text for text in root.iter(f"{SVG}text")]
        assert "<b" not in svg


def test_every_colour_is_defined_for_light_and_for_dark() -> None:
    light: dict[str, str] = {}
    dark: dict[str, str] = {}
    for selector, body in re.findall(r"([^{}]+)\{([^{}]*)\}", charts.CSS):
        (dark if ".dark" in selector and "slate" in selector else light).update(
            re.findall(r"(--ft-\w+): ([^;]+);", body)
        )
    used = set(re.findall(r"var\((--ft-\w+)\)", charts.CSS))
    assert used == set(light) == set(dark)
    for name in used:
        assert light[name] != dark[name], name


def test_series_differ_in_mark_and_dashes_not_in_colour_alone() -> None:
    svg = charts.lines_chart(dict.fromkeys("abcde", CURVE), "Score", x_label="examples")
    marks = [_dot(svg, f"{name}, 8:") for name in "abcde"]
    corners = [mark.get("points", "").count(",") for mark in marks]
    assert [mark.tag.removeprefix(SVG) for mark in marks] == ["circle", *["polygon"] * 4]
    assert corners == [0, 4, 3, 4, 3]
    dashed = dict(re.findall(r"path\.ft-(\w) \{ stroke-dasharray: ([^;]+);", charts.CSS))
    assert len(set(dashed.values())) == 4
    assert set(dashed) == set("bcde")


def test_on_an_axis_of_factors_equal_factors_are_equally_far_apart_and_zero_stands_first() -> None:
    points = [Point(x, 0.5, 0.5, 0.5) for x in (0, 8, 32, 128)]
    svg = charts.lines_chart({"a": points}, "Score", x_label="examples", log=True)
    zero, eight, thirty_two, last = (float(_dot(svg, f"a, {x}:").get("cx", 0)) for x in (0, 8, 32, 128))
    assert thirty_two - eight == pytest.approx(last - thirty_two, abs=0.2)
    assert zero < eight


def test_the_label_of_a_comparison_tells_every_number() -> None:
    label = ElementTree.fromstring(PICTURES["arms"]).get("aria-label", "")
    assert "rank 1 0.5; rank 64 0.9" in label


def _silent(svg: str) -> str:
    """The picture without its words."""
    return re.sub(r"<text.*?</text>", "", svg)


def test_a_picture_becomes_a_png_with_words_in_it() -> None:
    drawn = charts.as_png(charts.score_chart(BEFORE, AFTER), scale=1)
    silent = charts.as_png(_silent(charts.score_chart(BEFORE, AFTER)), scale=1)
    assert drawn.startswith(b"\x89PNG")
    assert len(drawn) > 1.5 * len(silent)


def test_where_no_font_is_installed_a_png_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = charts._draw
    # As on a machine without fonts: words leave no trace. A font that is missing may be drawn with another one.
    monkeypatch.setattr(charts, "_draw", lambda svg, *rest: draw(_silent(svg), *rest))
    charts._installed_font.cache_clear()
    with pytest.raises(UsageError, match="Segoe UI, and none is installed"):
        charts.as_png(charts.score_chart(BEFORE, AFTER))
    charts._installed_font.cache_clear()


def test_a_picture_that_stands_alone_needs_no_variables() -> None:
    alone = charts.standalone(PICTURES["five lines"])
    ElementTree.fromstring(alone)
    assert "var(" not in alone
    assert charts.LIGHT["e"] in alone


def test_every_class_in_a_chart_is_styled() -> None:
    drawn = {
        name for svg in PICTURES.values() for names in re.findall(r'class="([^"]+)"', svg) for name in names.split()
    }
    styled = set(re.findall(r"\.(ft-[\w-]+)", charts.CSS))
    assert drawn <= styled
