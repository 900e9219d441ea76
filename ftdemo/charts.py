"""Every chart, as SVG text: the same function draws it for the command line, the demos and the pages.

Colours and fonts come from the surrounding page through CSS variables, so one picture fits light and dark. No series is
told from another by colour alone: each has its own mark and its own dashes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape

from ftdemo.errors import UsageError
from ftdemo.events import Evaluated, Event, Started, Step

LIGHT = {
    "ink": "#1b2a33",
    "soft": "#5a6b75",
    "grid": "#dbe3e7",
    "a": "#0b6e8a",
    "b": "#b4530a",
    "c": "#7a3e9d",
    "d": "#2e7d32",
    "e": "#8a6d00",
}
"""The colours of a picture by their role, on a light ground; dark and light of each differ for the colour-blind too."""
DARK = {
    "ink": "#e8eef1",
    "soft": "#a9bac4",
    "grid": "#37474f",
    "a": "#5cc4e0",
    "b": "#f2a65a",
    "c": "#d0a5ea",
    "d": "#8fd694",
    "e": "#e3c94f",
}


_STYLES = "abcde"
_DASHES = {"b": "7 3", "c": "2 3", "d": "10 3 2 3", "e": "4 4"}


def _variables(colours: Mapping[str, str]) -> str:
    return " ".join(f"--ft-{name}: {value};" for name, value in colours.items())


def _rules(colour: Callable[[str], str]) -> str:
    """The styles of a chart's parts, in selectors that every renderer knows."""
    rules = [
        f".ft-chart text {{ fill: {colour('soft')}; }}",
        f".ft-chart .ft-title {{ fill: {colour('ink')}; font-weight: 600; font-size: 17px; }}",
        f".ft-chart .ft-grid {{ stroke: {colour('grid')}; stroke-width: 1; }}",
        ".ft-chart path { fill: none; stroke-width: 2; stroke-linejoin: round; }",
    ]
    for name in _STYLES:
        marks = ", ".join(f".ft-chart {tag}.ft-{name}" for tag in ("circle", "rect", "tspan", "polygon"))
        rules.append(f".ft-chart .ft-{name} {{ stroke: {colour(name)}; }}")
        rules.append(f"{marks} {{ fill: {colour(name)}; stroke: none; }}")
    rules += [f".ft-chart path.ft-{name} {{ stroke-dasharray: {dashes}; }}" for name, dashes in _DASHES.items()]
    rules.append(".ft-chart .ft-whisker { stroke-width: 2; opacity: .55; }")
    return "\n".join(rules) + "\n"


CSS = f""":root {{ {_variables(LIGHT)} }}
.dark, [data-md-color-scheme="slate"] {{ {_variables(DARK)} }}
.ft-chart {{ display: block; width: 100%; max-width: 680px; height: auto; margin: 0 auto;
  font: 14px system-ui, sans-serif; }}
{_rules(lambda name: f"var(--ft-{name})")}
@media (max-width: 560px) {{ .ft-chart {{ font-size: 22px; }} .ft-chart .ft-title {{ font-size: 24px; }} }}
"""

_WIDTH, _HEIGHT = 640, 350
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 18, 70, 58
_MARKS = {"ft-a": "●", "ft-b": "■", "ft-c": "▲", "ft-d": "◆", "ft-e": "▼"}
_FONTS = ("DejaVu Sans", "Liberation Sans", "Noto Sans", "Arial", "Helvetica", "Segoe UI")
_CORNERS = {
    "ft-b": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
    "ft-c": ((0, -1.2), (1.1, 0.9), (-1.1, 0.9)),
    "ft-d": ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
    "ft-e": ((-1.1, -0.9), (1.1, -0.9), (0, 1.2)),
}
"""The corners of each mark that is no circle, in units of its radius."""


@dataclass(frozen=True)
class Point:
    """A measured number at some place, with its interval and the single numbers that it is the mean of."""

    x: float
    y: float
    low: float
    high: float
    each: tuple[float, ...] = ()


def loss_chart(events: Iterable[Event], title: str = "Loss in nats per token") -> str:
    """The training loss of each step and the held-out loss, in nats per token, over the steps of the plan.

    Works on a run in progress: the axis shows the whole plan from the first event on. A model that began at random is
    compared with those that only count tokens.
    """
    events = list(events)
    steps = [(event.step, event.loss) for event in events if isinstance(event, Step)]
    heldout = [(event.step, event.loss) for event in events if isinstance(event, Evaluated)]
    started = next((event for event in events if isinstance(event, Started)), None)
    planned, levels = (started.total_steps, started.baselines) if started else (1, {})
    return curve_chart(steps, heldout, planned, title, levels)


def curve_chart(
    steps: Sequence[tuple[int, float]],
    heldout: Sequence[tuple[int, float]],
    planned: int,
    title: str = "Loss in nats per token",
    levels: Mapping[str, float] | None = None,
) -> str:
    """Training loss and held-out loss over the steps of a run.

    Args:
        steps: Step and training loss.
        heldout: Step and held-out loss.
        planned: Steps of the whole run.
        title: What stands above.
        levels: Losses to compare with, each drawn as a line across with its name.
    """
    levels = levels or {}
    plot = curve_plot(steps, heldout, planned, levels)
    few = len(steps) <= 120
    body = [
        plot.grid("optimizer step"),
        *(plot.level(value, name) for name, value in levels.items()),
        plot.line(steps, "ft-a"),
        plot.line(heldout, "ft-b"),
        *(plot.mark(x, y, "ft-a", radius=2.5, label=f"step {x}: loss {y:.3f}") for x, y in steps if few),
        *(
            plot.mark(x, y, "ft-b", radius=4.5 if few else 3, label=f"held-out loss after step {x}: {y:.3f}")
            for x, y in heldout
        ),
        _legend([("training batch", "ft-a"), ("held-out examples", "ft-b")]),
    ]
    return _svg(title, _loss_summary(steps, heldout), body, _HEIGHT)


def curve_plot(
    steps: Sequence[tuple[int, float]],
    heldout: Sequence[tuple[int, float]],
    planned: int,
    levels: Mapping[str, float] | None = None,
) -> Plot:
    """The plane on which `curve_chart` draws."""
    values = [loss for _, loss in (*steps, *heldout) if math.isfinite(loss)] + list((levels or {}).values())
    return Plot(x_max=max(planned, 1), y_max=_round_up(max(values, default=5.0)))


_SCORE_LABELS = {
    "stopped": "ended by itself",
    "fields": "correct fields",
    "all_fields": "all fields correct",
    "valid_json": "valid JSON",
    "constraints": "constraints met",
    "bits_per_byte": "bits per byte",
}


def score_label(name: str) -> str:
    """The name of a score or a loss as readers see it: "valid JSON" for ``valid_json``."""
    return _SCORE_LABELS.get(name, name.replace("_", " "))


def score_chart(before: dict[str, float], after: dict[str, float], title: str = "Scores on held-out prompts") -> str:
    """One pair of bars per score: before and after training, from 0 to 1."""
    names = list(after)
    row, bar, top = 66, 22, 66
    height = top + row * len(names)
    left, right = 144, 70
    scale = _WIDTH - left - right
    body = [_legend([("before", "ft-b"), ("after", "ft-a")])]
    for index, name in enumerate(names):
        y = top + row * index
        body.append(f'<text x="{left - 12}" y="{y + bar + 7}" text-anchor="end">{escape(score_label(name))}</text>')
        for offset, value, style in ((0, before.get(name, 0.0), "ft-b"), (bar + 3, after[name], "ft-a")):
            width = max(2.0, scale * value)
            size = f'x="{left}" y="{y + offset}" width="{width:.1f}" height="{bar}"'
            body.append(f'<rect class="{style}" {size} rx="3"/>')
            body.append(f'<text x="{left + width + 8:.1f}" y="{y + offset + 17}">{value:.2f}</text>')
    summary = "; ".join(
        f"{score_label(name)} {before.get(name, 0.0):.2f} before, {after[name]:.2f} after" for name in names
    )
    return _svg(title, summary, body, height)


def arms_chart(arms: Mapping[str, Point], title: str, unit: str = "", *, lowest: float = 0.0) -> str:
    """One row per arm: the mean of its runs as a mark, its interval as a line, each run as a small dot.

    Args:
        arms: The number of each arm; `Point.x` is not looked at.
        title: What stands above.
        unit: What is measured, below the axis.
        lowest: Where the axis begins.
    """
    row, top, left, right = 40, 44, 190, 62
    height = top + row * len(arms) + 60
    highest = max((max([point.high, point.y, *point.each]) for point in arms.values()), default=1.0)
    plot = Plot(
        x_max=_nice_top(highest, lowest), y_max=1.0, x_min=lowest, height=height, left=left, right=right, top=top
    )
    body = [plot.columns(unit)]
    for index, (name, point) in enumerate(arms.items()):
        y = top + row * (index + 0.5)
        label = f"{name}: {_figures(point.y)}"
        body.append(f'<text x="{left - 12}" y="{y + 5}" text-anchor="end">{escape(name)}</text>')
        if point.high > point.low:
            a, b = (plot.across(max(lowest, value)) for value in (point.low, point.high))
            body.append(f'<line class="ft-a ft-whisker" x1="{a:.1f}" x2="{min(b, _WIDTH - 4):.1f}" y1="{y}" y2="{y}"/>')
        body += [f'<circle class="ft-b" cx="{plot.across(value):.1f}" cy="{y}" r="3"/>' for value in point.each]
        body.append(_mark(plot.across(point.y), y, "ft-a", 6, label))
        body.append(f'<text x="{_WIDTH - 4}" y="{y + 5}" text-anchor="end">{_figures(point.y)}</text>')
    summary = "; ".join(f"{name} {_figures(point.y)}" for name, point in arms.items())
    return _svg(title, summary, body, height)


def lines_chart(
    series: Mapping[str, Sequence[Point]], title: str, *, x_label: str, log: bool = False, y_min: float = 0.0
) -> str:
    """Lines over a common axis, each point with its interval.

    Args:
        series: The points of each line, at most five lines.
        title: What stands above: what is measured, and its unit.
        x_label: What lies along the axis below.
        log: Whether equal factors are equally far apart on that axis. A point at 0 stands at its left end.
        y_min: Where the axis on the left begins.
    """
    points = [point for line in series.values() for point in line]
    places = sorted({point.x for point in points})
    plot = Plot(
        x_max=max(places, default=1.0),
        y_max=_nice_top(max((point.high for point in points), default=1.0), y_min),
        y_min=y_min,
        x_places=places if log else (),
    )
    styles = dict(zip(series, (f"ft-{name}" for name in _STYLES), strict=False))
    body = [plot.grid(x_label)]
    for name, line in series.items():
        style = styles[name]
        body += [plot.whisker(point, style) for point in line if point.high > point.low]
        body.append(plot.line([(point.x, point.y) for point in line], style))
        body += [
            plot.mark(point.x, point.y, style, radius=5, label=f"{name}, {point.x:g}: {_figures(point.y)}")
            for point in line
        ]
    body.append(_legend([(name, styles[name]) for name in series]))
    summaries = (
        f"{name}: " + ", ".join(f"{p.x:g} gives {_figures(p.y)}" for p in line) for name, line in series.items()
    )
    return _svg(title, "; ".join(summaries), body, _HEIGHT)


def as_png(svg: str, *, scale: float = 2.0) -> bytes:
    """A picture as PNG, on white, `scale` pixels to each of its units.

    Raises:
        UsageError: If the package resvg-py is not installed, or no font that it could write with.
    """
    return _draw(standalone(svg), _installed_font(), scale)


def _draw(svg: str, font: str, scale: float = 1.0) -> bytes:
    try:
        from resvg_py import svg_to_bytes
    except ImportError:
        raise UsageError(
            "PNG pictures need the package resvg-py.", "Run `pip install resvg-py`, or ask for .svg."
        ) from None

    return bytes(svg_to_bytes(svg_string=svg, zoom=scale, background="white", sans_serif_family=font))


@cache
def _installed_font() -> str:
    """The first of the usual fonts with which a word leaves a trace."""
    frame = '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20">{}</svg>'
    word = frame.format('<text y="15" font-family="sans-serif">x</text>')
    found = next((font for font in _FONTS if _draw(word, font) != _draw(frame.format(""), font)), None)
    if found is None:
        raise UsageError(
            f"A PNG needs one of the fonts {', '.join(_FONTS)}, and none is installed.", "Install one, or ask for .svg."
        )
    return found


def standalone(svg: str) -> str:
    """A picture that carries its own light colours, for wherever no page lends it some."""
    style = ".ft-chart { font: 14px sans-serif; }\n" + _rules(LIGHT.__getitem__)
    head, mark, rest = svg.partition(">")
    return f"{head}{mark}<style>{style}</style>{rest}"


class Plot:
    """A plane with axes."""

    def __init__(
        self,
        x_max: float,
        y_max: float,
        *,
        x_min: float = 0.0,
        y_min: float = 0.0,
        x_places: Sequence[float] = (),
        height: float = _HEIGHT,
        left: float = _LEFT,
        right: float = _RIGHT,
        top: float = _TOP,
    ) -> None:
        self._x_min, self._x_max, self._y_min, self._y_max = x_min, x_max, y_min, y_max
        self._places = list(x_places)
        self._left, self._right, self._top, self._bottom = left, _WIDTH - right, top, height - _BOTTOM
        self._height = height

    @property
    def frame(self) -> dict[str, float]:
        """The position of the axes and their ranges, for code that draws on top."""
        return {
            "left": self._left,
            "right": self._right,
            "top": self._top,
            "bottom": self._bottom,
            "x": self._x_max,
            "y": self._y_max,
        }

    def across(self, x: float) -> float:
        """How far to the right a number lies; where there are places of their own, in their order and by factors."""
        if self._places:
            smallest = next((place for place in self._places if place > 0), 1.0)
            steps = [math.log2(max(place, smallest / 2) / smallest) + 1 for place in (x, self._places[0], self._x_max)]
            share = (steps[0] - steps[1]) / ((steps[2] - steps[1]) or 1.0)
        else:
            share = (x - self._x_min) / ((self._x_max - self._x_min) or 1.0)
        return self._left + (self._right - self._left) * share

    def down(self, y: float) -> float:
        """How far down a number lies, within the plane."""
        share = (y - self._y_min) / ((self._y_max - self._y_min) or 1.0)
        return self._bottom - (self._bottom - self._top) * min(max(share, 0.0), 1.0)

    def grid(self, x_label: str) -> str:
        """Lines across, numbers on both axes, and the name of the one below."""
        parts = []
        for value in _ticks(self._y_min, self._y_max):
            y = self.down(value)
            parts.append(f'<line class="ft-grid" x1="{self._left}" x2="{self._right}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{self._left - 8}" y="{y + 5:.1f}" text-anchor="end">{value:g}</text>')
        for value in self._places or _ticks(self._x_min, self._x_max, whole=True):
            x = self.across(value)
            parts.append(f'<text x="{x:.1f}" y="{self._bottom + 24}" text-anchor="middle">{value:g}</text>')
        return "".join(parts) + self._below(x_label)

    def columns(self, x_label: str) -> str:
        """Lines down, with numbers below them."""
        parts = []
        for value in _ticks(self._x_min, self._x_max):
            x, end = self.across(value), self._height - 50
            parts.append(f'<line class="ft-grid" x1="{x:.1f}" x2="{x:.1f}" y1="{self._top - 8}" y2="{end}"/>')
            parts.append(f'<text x="{x:.1f}" y="{end + 18}" text-anchor="middle">{value:g}</text>')
        return "".join(parts) + self._below(x_label)

    def _below(self, label: str) -> str:
        middle = (self._left + self._right) / 2
        return f'<text x="{middle}" y="{self._height - 6}" text-anchor="middle">{escape(label)}</text>'

    def level(self, y: float, name: str) -> str:
        """A line across with a name."""
        height = self.down(y)
        line = f'<line class="ft-grid" stroke-dasharray="3 4" x1="{self._left}" x2="{self._right}"'
        text = f'<text x="{self._right}" y="{height - 4:.1f}" text-anchor="end">{escape(name)}</text>'
        return f'{line} y1="{height:.1f}" y2="{height:.1f}"/>{text}'

    def line(self, points: Sequence[tuple[float, float]], style: str) -> str:
        """A line through points."""
        if len(points) < 2:
            return ""
        places = " L".join(f"{self.across(x):.1f} {self.down(y):.1f}" for x, y in points)
        return f'<path class="{style}" d="M{places}"/>'

    def whisker(self, point: Point, style: str) -> str:
        """A point's interval, as a line up and down."""
        x, low, high = self.across(point.x), self.down(point.low), self.down(point.high)
        return f'<line class="{style} ft-whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>'

    def mark(self, x: float, y: float, style: str, *, radius: float, label: str) -> str:
        """A mark at a point, with a label for a pointer that rests on it."""
        return _mark(self.across(x), self.down(y), style, radius, label)


def _mark(x: float, y: float, style: str, radius: float, label: str) -> str:
    title = f"<title>{escape(label)}</title>"
    if style not in _CORNERS:
        return f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}">{title}</circle>'
    corners = " ".join(f"{x + dx * radius:.1f},{y + dy * radius:.1f}" for dx, dy in _CORNERS[style])
    return f'<polygon class="{style}" points="{corners}">{title}</polygon>'


def _svg(title: str, summary: str, body: Sequence[str], height: float) -> str:
    label = escape(f"{title}. {summary}", quote=True)
    heading = f'<text class="ft-title" x="4" y="18">{escape(title)}</text>'
    return (
        f'<svg class="ft-chart" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{label}" '
        f'xmlns="http://www.w3.org/2000/svg">{heading}{"".join(body)}</svg>'
    )


def _legend(entries: Sequence[tuple[str, str]]) -> str:
    parts = [f'<tspan class="{style}">{_MARKS[style]}</tspan> {escape(name)}' for name, style in entries]
    return f'<text x="4" y="46">{"&#160;&#160;&#160; ".join(parts)}</text>'


def _loss_summary(steps: Sequence[tuple[int, float]], heldout: Sequence[tuple[int, float]]) -> str:
    if not steps:
        return "No step has been taken yet."
    text = f"Training loss {steps[0][1]:.2f} at step {steps[0][0]}, {steps[-1][1]:.2f} at step {steps[-1][0]}."
    if heldout:
        text += (
            f" Held-out loss {heldout[0][1]:.2f} at step {heldout[0][0]}, {heldout[-1][1]:.2f} at the last evaluation."
        )
    return text


def _figures(value: float) -> str:
    """A number as it is read: three figures, no exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _ticks(lowest: float, highest: float, *, whole: bool = False) -> list[float]:
    """Five or so round numbers from `lowest` to `highest`."""
    rough = (highest - lowest) / 5 or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    step = max(1.0, round(step)) if whole else step
    first = math.ceil(lowest / step - 1e-9)
    return [round(index * step, 10) for index in range(first, int(highest / step + 1e-9) + 1)]


def _round_up(value: float) -> float:
    return max(1.0, math.ceil(value))


def _nice_top(highest: float, lowest: float) -> float:
    """The first round number that is not below `highest`."""
    span = highest - lowest
    if span <= 0:
        return lowest + 1.0
    power = 10.0 ** math.floor(math.log10(span))
    return lowest + next(
        power * factor for factor in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if power * factor >= span
    )
