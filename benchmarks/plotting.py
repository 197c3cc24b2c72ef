"""Small figures on double logarithmic axes as SVG, legible on white and on dark pages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 400, 300  # of a panel, in pixels
LEFT, RIGHT, TOP, BOTTOM = 58, 16, 34, 46  # from its edges to its frame
MARGIN = 1.25  # factor between the outermost points and the frame
# Middle tones: a contrast of 3 and more against white as against black.
GREY, COLOURS = "#808080", ("#3b82f6", "#e0702b", "#2f9e6e", "#a970d6")


@dataclass(frozen=True)
class Series:
    """Points (x, y), both above 0, in the order of x, under one label; `names` may name each point."""

    label: str
    points: Sequence[tuple[float, float]]
    names: Sequence[str] = ()


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]


@dataclass(frozen=True)
class Axis:
    """A logarithmic axis between two values, drawn between two places."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """Return where a value is."""
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return round values inside; powers of ten alone where there are more than two."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for steps in ((1,), (1, 2, 5)):
            found = [step * 10.0**decade for decade in decades for step in steps]
            found = [value for value in found if self.low <= value <= self.high]
            if len(found) > 2:
                break
        return found


def drawn(panels: Sequence[Panel], columns: int = 2) -> str:
    """Return the panels side by side, row by row, as one SVG.

    A dashed line of slope 1 goes through the first point of each panel: what lies on or below it grew linearly or
    better from there.
    """
    rows = -(-len(panels) // columns)
    width, height = columns * WIDTH, rows * HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="12" fill="{GREY}">'
    ]
    for index, panel in enumerate(panels):
        row, column = divmod(index, columns)
        parts += [f'<g transform="translate({column * WIDTH} {row * HEIGHT})">', *_panel(panel, index), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, index: int) -> list[str]:
    points = [point for series in panel.series for point in series.points]
    x = _axis([point[0] for point in points], LEFT, WIDTH - RIGHT)
    y = _axis([point[1] for point in points], HEIGHT - BOTTOM, TOP)
    middle = (TOP + HEIGHT - BOTTOM) / 2
    frame = f'x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" height="{HEIGHT - TOP - BOTTOM}"'
    parts = [
        f'<clipPath id="frame{index}"><rect {frame}/></clipPath>',
        f'<rect {frame} fill="none" stroke="{GREY}"/>',
        _text(LEFT, TOP - 12, panel.title, 'font-weight="bold" font-size="13"'),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, panel.x_label, 'text-anchor="middle"'),
        _text(14, middle, panel.y_label, f'text-anchor="middle" transform="rotate(-90 14 {middle:.1f})"'),
    ]
    for value in x.ticks():
        at = x.place(value)
        parts += [_line(at, HEIGHT - BOTTOM, at, HEIGHT - BOTTOM + 5)]
        parts += [_text(at, HEIGHT - BOTTOM + 18, tick_label(value), 'text-anchor="middle"')]
    for value in y.ticks():
        at = y.place(value)
        parts += [_line(LEFT - 5, at, LEFT, at)]
        parts += [_text(LEFT - 8, at + 4, tick_label(value), 'text-anchor="end"')]
    first_x, first_y = min(points)
    start, end = (x.low, first_y * x.low / first_x), (x.high, first_y * x.high / first_x)
    dashes = f'stroke-dasharray="5 4" clip-path="url(#frame{index})"'
    parts.append(_line(x.place(start[0]), y.place(start[1]), x.place(end[0]), y.place(end[1]), dashes))
    for number, series in enumerate(panel.series):
        parts += _series(series, x, y, COLOURS[number % len(COLOURS)])
        below = TOP + 18 + 16 * number
        parts.append(_text(LEFT + 10, below, series.label, f'fill="{COLOURS[number % len(COLOURS)]}"'))
    return parts


def _series(series: Series, x: Axis, y: Axis, colour: str) -> list[str]:
    places = [(x.place(one), y.place(other)) for one, other in series.points]
    path = " ".join(f"{one:.1f},{other:.1f}" for one, other in places)
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>']
    parts += [f'<circle cx="{one:.1f}" cy="{other:.1f}" r="3.5" fill="{colour}"/>' for one, other in places]
    for (one, other), name in zip(places, series.names, strict=False):
        parts.append(_text(one - 7, other - 7, name, f'text-anchor="end" fill="{colour}" font-size="11"'))
    return parts


def _axis(values: Sequence[float], start: float, end: float) -> Axis:
    return Axis(min(values) / MARGIN, max(values) * MARGIN, start, end)


def tick_label(value: float) -> str:
    """Return 0.1, 20, 5k or 2M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _line(x1: float, y1: float, x2: float, y2: float, more: str = "") -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{GREY}" {more}/>'


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(text)}</text>'
