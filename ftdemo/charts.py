"""Every picture, as SVG text: the same function draws it in the demo and on the page.

Colours and fonts come from the surrounding page through CSS variables, so one picture fits light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from ftdemo.events import Evaluated, Event, Started, Step

CSS = """
.ft-chart { --ft-ink: #1b2a33; --ft-soft: #5a6b75; --ft-grid: #dbe3e7; --ft-a: #0b6e8a; --ft-b: #b4530a; }
.dark .ft-chart, [data-md-color-scheme="slate"] .ft-chart {
  --ft-ink: #e8eef1; --ft-soft: #a9bac4; --ft-grid: #37474f; --ft-a: #5cc4e0; --ft-b: #f2a65a; }
.ft-chart { display: block; width: 100%; max-width: 680px; height: auto; margin: 0 auto;
  font: 14px system-ui, sans-serif; }
.ft-chart text { fill: var(--ft-soft); } .ft-chart .ft-title { fill: var(--ft-ink); font-weight: 600; font-size: 17px; }
@media (max-width: 560px) { .ft-chart { font-size: 22px; } .ft-chart .ft-title { font-size: 24px; } }
.ft-chart .ft-grid { stroke: var(--ft-grid); stroke-width: 1; }
.ft-chart .ft-a { stroke: var(--ft-a); } .ft-chart .ft-b { stroke: var(--ft-b); }
.ft-chart path { fill: none; stroke-width: 2; stroke-linejoin: round; }
.ft-chart :is(circle, rect, tspan).ft-a { fill: var(--ft-a); stroke: none; }
.ft-chart :is(circle, rect, tspan).ft-b { fill: var(--ft-b); stroke: none; }
"""

_WIDTH, _HEIGHT = 640, 350
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 18, 70, 58


def loss_chart(events: Iterable[Event], title: str = "Loss in nats a token") -> str:
    """The training loss of each step and the held-out loss, in nats a token, over the steps of the plan.

    Works on a run in progress: the axis shows the whole plan from the first event on.
    """
    events = list(events)
    steps = [(event.step, event.loss) for event in events if isinstance(event, Step)]
    heldout = [(event.step, event.loss) for event in events if isinstance(event, Evaluated)]
    planned = next((event.total_steps for event in events if isinstance(event, Started)), 1)
    highest = max([loss for _, loss in steps + heldout], default=5.0)
    plot = _Plot(x_max=max(planned, 1), y_max=_round_up(highest))
    body = [
        plot.grid("optimizer step"),
        plot.line(steps, "ft-a"),
        plot.line(heldout, "ft-b"),
        *(plot.dot(x, y, "ft-a", radius=2.5, label=f"step {x}: loss {y:.3f}") for x, y in steps),
        *(plot.dot(x, y, "ft-b", radius=5, label=f"held-out loss after step {x}: {y:.3f}") for x, y in heldout),
        _legend([("training batch", "ft-a"), ("held-out rows", "ft-b")]),
    ]
    return _svg(title, _loss_summary(steps, heldout), body, _HEIGHT)


def score_chart(before: dict[str, float], after: dict[str, float], title: str = "Scores on held-out prompts") -> str:
    """One pair of bars a score: before and after training, from 0 to 1."""
    names = list(after)
    row, bar, top = 66, 22, 66
    height = top + row * len(names)
    left, right = 104, 70
    scale = _WIDTH - left - right
    body = [_legend([("before", "ft-b"), ("after", "ft-a")])]
    for index, name in enumerate(names):
        y = top + row * index
        body.append(f'<text x="{left - 12}" y="{y + bar + 7}" text-anchor="end">{escape(name)}</text>')
        for offset, value, style in ((0, before.get(name, 0.0), "ft-b"), (bar + 3, after[name], "ft-a")):
            width = max(2.0, scale * value)
            size = f'x="{left}" y="{y + offset}" width="{width:.1f}" height="{bar}"'
            body.append(f'<rect class="{style}" {size} rx="3"/>')
            body.append(f'<text x="{left + width + 8:.1f}" y="{y + offset + 17}">{value:.2f}</text>')
    summary = "; ".join(f"{name} {before.get(name, 0.0):.2f} before, {after[name]:.2f} after" for name in names)
    return _svg(title, summary, body, height)


class _Plot:
    """A plane with axes: x from 0, y from 0."""

    def __init__(self, x_max: float, y_max: float) -> None:
        self._x_max, self._y_max = x_max, y_max

    def _place(self, x: float, y: float) -> tuple[float, float]:
        width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
        return _LEFT + width * x / self._x_max, _TOP + height * (1 - y / self._y_max)

    def grid(self, x_label: str) -> str:
        """Lines across, numbers on both axes, and the name of the one below."""
        parts = []
        for value in _ticks(self._y_max):
            _, y = self._place(0, value)
            parts.append(f'<line class="ft-grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{_LEFT - 8}" y="{y + 5:.1f}" text-anchor="end">{value:g}</text>')
        for value in _ticks(self._x_max, whole=True):
            x, _ = self._place(value, 0)
            parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 24}" text-anchor="middle">{value:g}</text>')
        middle = (_LEFT + _WIDTH - _RIGHT) / 2
        parts.append(f'<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>')
        return "".join(parts)

    def line(self, points: Sequence[tuple[float, float]], style: str) -> str:
        if len(points) < 2:
            return ""
        places = " L".join("{:.1f} {:.1f}".format(*self._place(x, y)) for x, y in points)
        return f'<path class="{style}" d="M{places}"/>'

    def dot(self, x: float, y: float, style: str, *, radius: float, label: str) -> str:
        cx, cy = self._place(x, y)
        title = f"<title>{escape(label)}</title>"
        return f'<circle class="{style}" cx="{cx:.1f}" cy="{cy:.1f}" r="{radius}">{title}</circle>'


def _svg(title: str, summary: str, body: Sequence[str], height: int) -> str:
    label = escape(f"{title}. {summary}", quote=True)
    heading = f'<text class="ft-title" x="4" y="18">{escape(title)}</text>'
    return (
        f'<svg class="ft-chart" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{label}" '
        f'xmlns="http://www.w3.org/2000/svg">{heading}{"".join(body)}</svg>'
    )


def _legend(entries: Sequence[tuple[str, str]]) -> str:
    parts = [f'<tspan class="{style}">●</tspan> {escape(name)}' for name, style in entries]
    return f'<text x="4" y="46">{"&#160;&#160;&#160; ".join(parts)}</text>'


def _loss_summary(steps: Sequence[tuple[int, float]], heldout: Sequence[tuple[int, float]]) -> str:
    if not steps:
        return "No step has been taken yet."
    text = f"Training loss {steps[0][1]:.2f} at step 1, {steps[-1][1]:.2f} at step {steps[-1][0]}."
    if heldout:
        text += f" Held-out loss {heldout[0][1]:.2f} at step {heldout[0][0]}, {heldout[-1][1]:.2f} at the last look."
    return text


def _ticks(highest: float, *, whole: bool = False) -> list[float]:
    """Five or so round numbers from 0 to `highest`."""
    rough = highest / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
    step = max(1.0, round(step)) if whole else step
    return [index * step for index in range(int(highest / step + 1e-9) + 1)]


def _round_up(value: float) -> float:
    return max(1.0, math.ceil(value))
