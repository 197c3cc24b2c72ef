"""One pair of double logarithmic axes on which growth is a slope, with a line of slope 1 to hold it against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from search.output.panels import GREY, Axis, Line, Panel, Style, round_ticks, style

Points = Sequence[tuple[float, float]]


def growth_panel(
    title: str, x_label: str, y_label: str, series: Mapping[str, Points], names: Sequence[tuple[float, str]] = ()
) -> Panel:
    """Return the panel of some series by label: points (x, y), both above 0, in the order of x.

    The dashed line of slope 1 goes through the first point: what lies on or below it grew linearly or better from
    there. `names` of places on the x axis stand for round numbers.
    """
    points = sorted(point for found in series.values() for point in found)
    (first_x, first_y), last_x = points[0], points[-1][0]
    linear = Line("", (first_x, last_x), (first_y, first_y * last_x / first_x), Style(GREY, dashes="--"))
    lines = [
        Line(label, [x for x, _ in found], [y for _, y in found], style(number))
        for number, (label, found) in enumerate(series.items())
    ]
    heights = [y for line in (linear, *lines) for y in line.y]
    return Panel(
        title,
        Axis(x_label, "log", names or round_ticks(first_x, last_x)),
        Axis(y_label, "log", round_ticks(min(heights), max(heights))),
        [linear, *lines],
    )
