"""Plotly figures as JSON without colours of page or text: the page sets those, light or dark."""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from search.output.numbers import count, percent, proxy
from search.report.facts import Row

MOST_POINTS = 5000
"""Trials drawn as points, evenly chosen: what a browser can still draw as SVG without a wait."""

# Seen on white and on near-black, and told apart with the common colour-vision deficiencies.
_PALETTE = ("#3987cf", "#e08a1e", "#2a9d6f", "#a673c9", "#cc5a57", "#8b8f98")


def colours(trials: Sequence[Row], leaderboard: Sequence[Row]) -> dict[str, str]:
    """Return a colour for each source, the same in every figure."""
    sources = sorted({row["source"] for row in [*trials, *leaderboard]})
    return {source: _PALETTE[number % len(_PALETTE)] for number, source in enumerate(sources)}


def by_source(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Return the rows of each source, sources in alphabetical order."""
    sources = sorted({row["source"] for row in rows})
    return [(source, [row for row in rows if row["source"] == source]) for source in sources]


def thinned(rows: Sequence[Row]) -> Sequence[Row]:
    """Return at most `MOST_POINTS` of the rows, evenly chosen."""
    return rows[:: math.ceil(len(rows) / MOST_POINTS) or 1]


def points(fraction: float | None) -> float | None:
    """Return a fraction in per cent; None for what is no number, which Plotly leaves out."""
    return None if fraction is None or not math.isfinite(fraction) else round(100 * fraction, 4)


def about(row: Row) -> str:
    """Return the hover text of a trial: names are escaped, since Plotly reads some tags."""
    architecture = html.escape(str(row["architecture"]), quote=False)
    left = f"{percent(row['sparsity'])} % sparse, {count(row['parameters_left'])} parameters left"
    text = f"<b>trial {row['trial']}</b> · {html.escape(row['source'], quote=False)}<br>{architecture}<br>{left}"
    if row["proxy_accuracy_sem"] is None:
        return text
    mean = proxy(row["proxy_accuracy"], row["proxy_accuracy_sem"])
    return f"{text}<br>proxy {mean} % over {row['replicates']} replicates"


def stand_in(source: str, colour: str) -> dict[str, Any]:
    """Return an empty trace for the legend, which would else show the symbol of the first trial, whatever its state."""
    return {
        "x": [None],
        "y": [None],
        "mode": "markers",
        "name": html.escape(source, quote=False),
        "marker": {"size": 8, "color": colour},
        "legendgroup": source,
        "showlegend": True,
    }


def whole_numbers(values: Sequence[int]) -> dict[str, Any]:
    """Return the ticks of an axis of whole numbers: none between two of them, which would repeat a number, and few."""
    width = max(values, default=1) - min(values, default=0)
    step = next(
        factor * 10**power for power in itertools.count() for factor in (1, 2, 5) if factor * 10**power * 10 >= width
    )
    return {"tickformat": "d", "dtick": step, "tick0": 0}


def as_json(figure: go.Figure, x: str, y: str, height: int = 400) -> str:
    """Return the figure, its axes named."""
    figure.update_layout(
        template=None,
        height=height,
        margin={"l": 56, "r": 16, "t": 16, "b": 48},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        showlegend=figure.data[0].type == "scatter",
        hovermode="closest",
    )
    figure.update_xaxes(title=x, automargin=True, zeroline=False)
    figure.update_yaxes(title=y, automargin=True, zeroline=False)
    text: str = figure.to_json()
    return text
