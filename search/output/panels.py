"""What a figure shows, as data: lines and levels in panels, with styles that all kinds of colour vision tell apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from matplotlib.colors import to_hex, to_rgb

# Okabe and Ito's colours for all kinds of colour vision, without the yellow, which white swallows.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
GREY, PALE = "#595959", "#c8c8c8"


@dataclass(frozen=True)
class Style:
    """How a line is drawn: colour, marker ("" for none) and matplotlib's line style ("" for points alone)."""

    colour: str
    marker: str = ""
    dashes: str = "-"


@dataclass(frozen=True)
class Line:
    """Points (x, y) in the order of x under one label ("" for none); `spread` is the half height of band or bar."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    style: Style
    spread: Sequence[float | None] = ()


@dataclass(frozen=True)
class Level:
    """A horizontal line through the panel, with a band of half height `spread`."""

    label: str
    y: float
    style: Style
    spread: float | None = None


@dataclass(frozen=True)
class Axis:
    """An axis: its label, its scale, the places and names of its ticks (none given: matplotlib's own), its bounds."""

    label: str
    scale: Literal["linear", "log"] = "linear"
    ticks: Sequence[tuple[float, str]] = ()
    reverse: bool = False
    slanted: bool = False
    bounds: tuple[float, float] = (-math.inf, math.inf)


@dataclass(frozen=True)
class Panel:
    """One pair of axes; later lines lie on top. `cut` lets lines leave a crowded panel at its lower edge."""

    title: str
    x: Axis
    y: Axis
    lines: Sequence[Line]
    levels: Sequence[Level] = ()
    spread: Literal["band", "bars"] = "band"
    cut: bool = False


def style(number: int) -> Style:
    """Return the style of the family with this number: 63 pairs of colour and marker, dashed from the eighth on."""
    return Style(COLOURS[number % 7], MARKERS[number % 9], ("-", "--", "-.", ":")[number // 7 % 4])


def shade(base: Style, number: int, of: int) -> Style:
    """Return the style of a family's method: from pale to full colour, each with a marker of its own."""
    pale = 0.5 * (1 - (number + 1) / of)
    red, green, blue = ((1 - pale) * part + pale for part in to_rgb(base.colour))
    return replace(base, colour=to_hex((red, green, blue)), marker=MARKERS[number % len(MARKERS)])


def ink(colour: str) -> str:
    """Return a colour dark enough for small text on white."""
    red, green, blue = (0.7 * part for part in to_rgb(colour))
    return to_hex((red, green, blue))


def round_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Return round values between `low` and `high`: powers of ten where there are three, else more of each decade."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        values = [step * 10.0**decade for decade in decades for step in steps]
        inside = [value for value in values if 0.99 * low <= value <= 1.01 * high]
        if len(inside) > 2:
            break
    return [(value, _short(value)) for value in inside or [low]]


def _short(value: float) -> str:
    """Return 0.1, 20, 5k or 2M."""
    units = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
    size, letter = next(((s, unit) for s, unit in units if value >= s), (1, ""))
    return f"{value / size:g}{letter}"
