"""Drawing panels, with labels beside the ends of the lines, as SVG that is the same bytes for the same data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context, style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator
from scipy.optimize import isotonic_regression

from dp_core.files import replacing
from search.output.panels import GREY, Panel, Style, ink

WIDTH = 8.6  # inches at 72 points: the width of a README's column
FONT, SMALL = 9.0, 8.0  # points
LINE = 0.15  # inches from one label to the next
LEFT, TOP, BOTTOM = 0.68, 0.34, 0.6  # inches around a panel
LOWEST, TALLEST = 2.0, 3.6  # inches of a panel's height

MANY_NAMES = 12  # slanted names under a panel that takes half the width


def save(panels: Sequence[Panel], path: Path) -> None:
    """Write the panels, row by row, as one SVG: no date in it, no random names, text as text."""
    with house_style():
        figure = drawn(panels)
        with replacing(path) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})


@contextmanager
def house_style() -> Iterator[None]:
    """Set matplotlib's defaults, whatever the user's own are, with ours on top; restored at the end."""
    ours: dict[str, Any] = {
        "font.family": "DejaVu Sans",
        "font.size": FONT,
        "axes.titlesize": FONT,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.edgecolor": GREY,
        "axes.labelcolor": GREY,
        "xtick.color": GREY,
        "ytick.color": GREY,
        "xtick.labelsize": SMALL,
        "ytick.labelsize": SMALL,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "lines.linewidth": 1.5,
        "lines.markersize": 4.5,
        "svg.fonttype": "none",
        "svg.hashsalt": "winnow",
    }
    with rc_context(), style.context(ours, after_reset=True):
        yield


def drawn(panels: Sequence[Panel]) -> Figure:
    """Return the figure, laid out in inches: every label has its place before anything is drawn."""
    columns = 1 if any(panel.x.slanted and len(panel.x.ticks) > MANY_NAMES for panel in panels) else min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    labels = [[label for label, *_ in _ends(panel)] for panel in panels]
    beside = max((_width(text) for texts in labels for text in texts), default=0.0) + 0.55
    slanted = [_width(name) for panel in panels if panel.x.slanted for _, name in panel.x.ticks]
    # A name slanted by 45° reaches as far to the left of its tick as it reaches down.
    reach = 0.7 * max(slanted, default=0.0)
    before, below = max(LEFT, reach), BOTTOM + reach
    width = max(WIDTH / columns - before - beside, 1.6)
    height = max(LOWEST, min(0.6 * width, TALLEST), LINE * max(map(len, labels)))
    cell = before + width + beside, TOP + height + below
    whole = columns * cell[0], rows * cell[1]
    figure = Figure(figsize=whole)
    for index, panel in enumerate(panels):
        row, column = divmod(index, columns)
        left, bottom = column * cell[0] + before, whole[1] - row * cell[1] - TOP - height
        axes = figure.add_axes((left / whole[0], bottom / whole[1], width / whole[0], height / whole[1]))
        _draw(panel, axes)
        _set_ticks(panel, axes, width)
        _label_ends(panel, axes, width, height)
    return figure


def _draw(panel: Panel, axes: Axes) -> None:
    axes.set_title(panel.title)
    axes.set_xlabel(panel.x.label)
    axes.set_ylabel(panel.y.label)
    axes.set_xscale(panel.x.scale)
    axes.set_yscale(panel.y.scale)
    places = {x for line in panel.lines for x in line.x}
    if len(places) == 1:  # an axis needs some width
        place = places.pop()
        axes.set_xlim(*((place / 2, place * 2) if panel.x.scale == "log" else (place - 1, place + 1)))
    for level in panel.levels:
        axes.axhline(level.y, color=level.style.colour, linestyle=level.style.dashes, linewidth=1.0, zorder=1)
        if level.spread:
            band = (level.y - level.spread, level.y + level.spread)
            axes.axhspan(*band, color=level.style.colour, alpha=0.12, linewidth=0, zorder=0)
    for line in panel.lines:
        style_of: dict[str, Any] = {
            "color": line.style.colour,
            "linestyle": line.style.dashes,
            "marker": line.style.marker or None,
        }
        spread = [value or 0.0 for value in line.spread]
        if any(spread) and panel.spread == "bars":
            axes.errorbar(line.x, line.y, spread, capsize=2, elinewidth=1, **style_of)
            continue
        axes.plot(line.x, line.y, **style_of)
        if any(spread):
            low, high = (np.add(line.y, sign * np.asarray(spread)) for sign in (-1, 1))
            axes.fill_between(line.x, low, high, color=line.style.colour, alpha=0.15, linewidth=0)
    if panel.y.scale == "linear":
        axes.set_ylim(*_limits(panel))
    if panel.x.reverse:
        axes.invert_xaxis()


def _limits(panel: Panel) -> tuple[float, float]:
    """Return the range of y; a cut panel ends above the points that would leave more than half of it empty."""
    points = sorted([*(y for line in panel.lines for y in line.y), *(level.y for level in panel.levels)])
    spreads = [(y, spread or 0.0) for line in panel.lines for y, spread in zip(line.y, line.spread, strict=False)]
    spreads += [(level.y, level.spread or 0.0) for level in panel.levels]
    low = min([points[0], *(y - spread for y, spread in spreads)])
    high = max([points[-1], *(y + spread for y, spread in spreads)])
    gap, above = max(((upper - lower, upper) for lower, upper in pairwise(points)), default=(0.0, low))
    if panel.cut and gap > (points[-1] - points[0]) / 2 and points.index(above) < len(points) / 3:
        low = above - (high - above) / 4
    low, high = max(low, panel.y.bounds[0]), min(high, panel.y.bounds[1])
    margin = 0.04 * (high - low) or 1.0
    return low - margin, high + margin


def _set_ticks(panel: Panel, axes: Axes, width: float) -> None:
    """Set the ticks, leaving out those of x whose names would run into the next."""
    kept: list[tuple[float, str]] = []
    edge = math.inf
    for value, name in sorted(panel.x.ticks, key=lambda tick: -_place(axes, tick[0], axes.get_ylim()[0])[0]):
        half = 0.09 if panel.x.slanted else _width(name) / 2 + 0.05
        place = _place(axes, value, axes.get_ylim()[0])[0] * width
        if place + half <= edge:
            kept.append((value, name))
            edge = place - half
    for axis, ticks in ((axes.xaxis, kept), (axes.yaxis, panel.y.ticks)):
        if ticks:
            axis.set_major_locator(FixedLocator([value for value, _ in ticks]))
            axis.set_major_formatter(FixedFormatter([name for _, name in ticks]))
            axis.set_minor_locator(NullLocator())
    if panel.x.slanted:
        axes.tick_params("x", labelrotation=45)
        for text in axes.get_xticklabels():
            text.set(ha="right", rotation_mode="anchor")


def _label_ends(panel: Panel, axes: Axes, width: float, height: float) -> None:
    """Write each label to the right of the panel, as near to its line's end as the other labels let it."""
    ends = _ends(panel)
    if not ends:
        return
    low, high = axes.get_ylim()
    right = axes.get_xlim()[1]
    placed = []
    for label, x, y, drawn_as in ends:
        placed.append((_place(axes, right if x is None else x, min(max(y, low), high)), label, drawn_as))
    placed.sort(key=lambda one: one[0][1])
    heights = _spread_out([start[1] for start, _, _ in placed], LINE / height)
    for (start, label, drawn_as), at in zip(placed, heights, strict=True):
        shown: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}
        leader: dict[str, Any] = {"color": drawn_as.colour, "linewidth": 0.6, "linestyle": ":"}
        axes.plot([start[0], 1 + 0.14 / width], [start[1], at], **leader, **shown)
        axes.text(1 + 0.18 / width, at, label, va="center", fontsize=SMALL, color=ink(drawn_as.colour), **shown)


def _ends(panel: Panel) -> list[tuple[str, float | None, float, Style]]:
    """Return label, place and style of each end that has a label; x is None for the right edge.

    The label of an end that is below a cut panel tells how far.
    """
    ends = [(line.label, line.x[-1], line.y[-1], line.style) for line in panel.lines]
    levels = [(level.label, None, level.y, level.style) for level in panel.levels]
    low = _limits(panel)[0] if panel.cut else -math.inf
    return [(f"{end[0]} ↓ {end[2]:.1f}" if end[2] < low else end[0], *end[1:]) for end in (*ends, *levels) if end[0]]


def _spread_out(heights: Sequence[float], apart: float) -> list[float]:
    """Return the places nearest to ascending `heights` (least squares) that are `apart` or more and inside [0, 1]."""
    steps = apart * np.arange(len(heights))
    nearest = isotonic_regression(np.asarray(heights) - steps).x
    return [float(place) for place in np.clip(nearest, 0, max(1 - steps[-1], 0)) + steps]


def _place(axes: Axes, x: float, y: float) -> tuple[float, float]:
    """Return where a point is in the panel, (0, 0) being its lower left corner and (1, 1) its upper right one."""
    across, up = axes.transAxes.inverted().transform(axes.transData.transform((x, y)))
    return float(across), float(up)


def _width(text: str) -> float:
    """Return the width of a small text in inches."""
    return float(TextPath((0, 0), text, size=SMALL).get_extents().width) / 72 if text.strip() else 0.0
