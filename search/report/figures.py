"""The report's figures, as Plotly JSON without colours of page or text: the page sets those, light or dark."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from search.report.facts import Row, SourceCost
from search.report.formats import count, duration, magnitude, percent, proxy

MOST_CURVES = 200
"""Trials drawn as curves, the best last scores first: more are a grey mass and slow to draw."""

MOST_POINTS = 5000
"""Trials drawn as points, evenly chosen: what a browser can still draw as SVG without a wait."""

# Seen on white and on near-black, and told apart with the common colour-vision deficiencies.
_PALETTE = ("#3987cf", "#e08a1e", "#2a9d6f", "#a673c9", "#cc5a57", "#8b8f98")
_SYMBOLS = {"COMPLETE": "circle", "PRUNED": "x-thin-open", "FAIL": "diamond-open"}


def colours(trials: Sequence[Row], leaderboard: Sequence[Row]) -> dict[str, str]:
    """Return a colour for each source, the same in every figure."""
    sources = sorted({row["source"] for row in [*trials, *leaderboard]})
    return {source: _PALETTE[number % len(_PALETTE)] for number, source in enumerate(sources)}


def proxy_against_test(leaderboard: Sequence[Row], palette: Mapping[str, str]) -> str:
    """Return the scatter of test accuracy over proxy accuracy, one point a retrained model."""
    figure = go.Figure()
    for source, rows in _by_source(leaderboard):
        figure.add_scatter(
            x=[_points(row["proxy_accuracy"]) for row in rows],
            y=[_points(row["test_accuracy"]) for row in rows],
            error_x={"array": [_points(row["proxy_accuracy_sem"]) for row in rows], "thickness": 1, "width": 3},
            error_y={"array": [_points(row["test_accuracy_std"]) for row in rows], "thickness": 1, "width": 3},
            mode="markers",
            name=html.escape(source, quote=False),
            marker={"size": 10, "color": palette[source]},
            text=[_about(row) for row in rows],
            hovertemplate="%{text}<br>proxy %{x:.1f} %, test %{y:.2f} %<extra></extra>",
        )
    return _json(figure, "Proxy accuracy, %", "Test accuracy after retraining, %")


def accuracy_against_sparsity(trials: Sequence[Row], palette: Mapping[str, str]) -> str:
    """Return the scatter of each trial's last proxy accuracy over its sparsity."""
    figure = go.Figure()
    drawn = [row for row in trials if row["proxy_accuracy"] is not None]
    drawn = drawn[:: math.ceil(len(drawn) / MOST_POINTS) or 1]
    for source, rows in _by_source(drawn):
        symbols = [_SYMBOLS.get(row["state"], "circle-open") for row in rows]
        figure.add_scatter(
            x=[_points(row["sparsity"]) for row in rows],
            y=[_points(row["proxy_accuracy"]) for row in rows],
            mode="markers",
            marker={
                "size": 8,
                "color": palette[source],
                "symbol": symbols,
                "opacity": 0.8,
                "line": {"width": 1.5, "color": palette[source]},
            },
            legendgroup=source,
            showlegend=False,
            text=[_about(row) for row in rows],
            hovertemplate="%{text}<br>%{y:.1f} % at %{x:.1f} % sparsity<extra></extra>",
        )
        # The legend would show the symbol of the first trial, whatever its state: this empty trace stands in.
        figure.add_scatter(
            x=[None],
            y=[None],
            mode="markers",
            name=html.escape(source, quote=False),
            marker={"size": 8, "color": palette[source]},
            legendgroup=source,
            showlegend=True,
        )
    return _json(figure, "Sparsity, %", "Proxy accuracy, %")


def accuracy_over_rounds(trials: Sequence[Row], rounds: Sequence[Row], palette: Mapping[str, str]) -> str:
    """Return the curves of proxy accuracy over rounds, one a trial, of the `MOST_CURVES` best trials."""
    started = [row for row in trials if row["proxy_accuracy"] is not None]
    drawn = sorted(started, key=lambda row: -_sortable(row["proxy_accuracy"]))[:MOST_CURVES]
    curves: dict[int, list[Row]] = {row["trial"]: [] for row in drawn}
    for row in rounds:
        if row["trial"] in curves:
            curves[row["trial"]].append(row)
    figure = go.Figure()
    for source, rows in _by_source(drawn):
        x, y, text = _broken_line([(trial, curves[trial["trial"]]) for trial in rows])
        figure.add_scatter(
            x=x,
            y=y,
            text=text,
            mode="lines+markers",
            name=html.escape(source, quote=False),
            line={"width": 1.2, "color": palette[source]},
            marker={"size": 4},
            opacity=0.65,
            hovertemplate="%{text}<br>round %{x}: %{y:.1f} %<extra></extra>",
        )
    return _json(figure, "Round", "Proxy accuracy, %", whole_steps=True)


def seconds_by_source(costs: Sequence[SourceCost], palette: Mapping[str, str]) -> str:
    """Return the bars of seconds that screening took on each source."""
    values = [cost.seconds for cost in costs]
    return _bars(costs, values, [duration(value) for value in values], palette, "Seconds")


def gradients_by_source(costs: Sequence[SourceCost], palette: Mapping[str, str]) -> str:
    """Return the bars of image-gradients that screening took on each source."""
    values = [float(cost.image_gradients) for cost in costs]
    return _bars(costs, values, [magnitude(value) for value in values], palette, "Image-gradients")


def _bars(
    costs: Sequence[SourceCost], values: Sequence[float], labels: Sequence[str], palette: Mapping[str, str], axis: str
) -> str:
    bars = go.Bar(
        x=list(values),
        y=[html.escape(cost.source, quote=False) for cost in costs],
        orientation="h",
        text=list(labels),
        textposition="auto",
        marker={"color": [palette[cost.source] for cost in costs]},
        hovertemplate="%{y}: %{text}<extra></extra>",
    )
    figure = go.Figure(bars)
    figure.update_yaxes(autorange="reversed", type="category")
    return _json(figure, axis, "", height=120 + 44 * len(costs))


def _broken_line(curves: Iterable[tuple[Row, Sequence[Row]]]) -> tuple[list[Any], list[Any], list[str]]:
    """Return the curves as one line with gaps: a trace for each trial would be slow and fill the legend."""
    x: list[Any] = []
    y: list[Any] = []
    text: list[str] = []
    for trial, rows in curves:
        ordered = sorted(rows, key=lambda row: row["round"])
        x += [*(row["round"] for row in ordered), None]
        y += [*(_points(row["proxy_accuracy"]) for row in ordered), None]
        text += [*(f"{_about({**trial, **row})}" for row in ordered), ""]
    return x, y, text


def _about(row: Row) -> str:
    """Return the hover text of a trial: names are escaped, since Plotly reads some tags."""
    architecture = html.escape(str(row["architecture"]), quote=False)
    left = f"{percent(row['sparsity'])} % sparse, {count(row['parameters_left'])} parameters left"
    text = f"<b>trial {row['trial']}</b> · {html.escape(row['source'], quote=False)}<br>{architecture}<br>{left}"
    if row["proxy_accuracy_sem"] is None:
        return text
    mean = proxy(row["proxy_accuracy"], row["proxy_accuracy_sem"])
    return f"{text}<br>proxy {mean} % over {row['replicates']} replicates"


def _by_source(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    sources = sorted({row["source"] for row in rows})
    return [(source, [row for row in rows if row["source"] == source]) for source in sources]


def _points(fraction: float | None) -> float | None:
    return None if fraction is None or not math.isfinite(fraction) else 100 * fraction


def _sortable(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


def _json(figure: go.Figure, x: str, y: str, height: int = 400, whole_steps: bool = False) -> str:
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
    if whole_steps:
        figure.update_xaxes(tickformat="d")
    text: str = figure.to_json()
    return text
