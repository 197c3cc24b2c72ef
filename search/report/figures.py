"""The report's figures of screening, retraining and their cost."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from search.output.numbers import duration, magnitude
from search.report.facts import Rounds, Row, SourceCost
from search.report.plotting import about, as_json, by_source, points, stand_in, thinned, whole_numbers
from trainables.screening.round import Round

MOST_CURVES = 200
"""Trials drawn as curves, the best last scores first: more are a grey mass and slow to draw."""

_SYMBOLS = {"COMPLETE": "circle", "PRUNED": "x-thin-open", "FAIL": "diamond-open"}


def proxy_against_test(leaderboard: Sequence[Row], palette: Mapping[str, str]) -> str:
    """Return the scatter of test accuracy over proxy accuracy, one point a retrained model; audited ones are hollow."""
    figure = go.Figure()
    for source, rows in by_source(leaderboard):
        figure.add_scatter(
            x=[points(row["proxy_accuracy"]) for row in rows],
            y=[points(row["test_accuracy"]) for row in rows],
            error_x={"array": [points(row["proxy_accuracy_sem"]) for row in rows], "thickness": 1, "width": 3},
            error_y={"array": [points(row["test_accuracy_std"]) for row in rows], "thickness": 1, "width": 3},
            mode="markers",
            marker={
                "size": 10,
                "color": palette[source],
                "symbol": ["diamond-open" if row["audited"] else "circle" for row in rows],
                "line": {"width": 2, "color": palette[source]},
            },
            legendgroup=source,
            showlegend=False,
            text=[about(row) + ("<br>drawn for the audit" if row["audited"] else "") for row in rows],
            hovertemplate="%{text}<br>proxy %{x:.1f} %, test %{y:.2f} %<extra></extra>",
        )
        figure.add_scatter(**stand_in(source, palette[source]))
    return as_json(figure, "Proxy accuracy, %", "Test accuracy after retraining, %")


def accuracy_against_sparsity(trials: Sequence[Row], palette: Mapping[str, str]) -> str:
    """Return the scatter of each trial's last proxy accuracy over its sparsity."""
    figure = go.Figure()
    for source, rows in by_source(thinned([row for row in trials if row["proxy_accuracy"] is not None])):
        symbols = [_SYMBOLS.get(row["state"], "circle-open") for row in rows]
        figure.add_scatter(
            x=[points(row["sparsity"]) for row in rows],
            y=[points(row["proxy_accuracy"]) for row in rows],
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
            text=[about(row) for row in rows],
            hovertemplate="%{text}<br>%{y:.1f} % at %{x:.1f} % sparsity<extra></extra>",
        )
        figure.add_scatter(**stand_in(source, palette[source]))
    return as_json(figure, "Sparsity, %", "Proxy accuracy, %")


def accuracy_over_rounds(trials: Sequence[Row], rounds: Rounds, palette: Mapping[str, str]) -> str:
    """Return the curves of proxy accuracy over rounds, one a trial, of the `MOST_CURVES` best trials."""
    started = [row for row in trials if row["proxy_accuracy"] is not None]
    drawn = sorted(started, key=lambda row: -_sortable(row["proxy_accuracy"]))[:MOST_CURVES]
    curves = {row["trial"]: rounds.get(row["trial"], ()) for row in drawn}
    figure = go.Figure()
    for source, rows in by_source(drawn):
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
    figure.update_xaxes(whole_numbers([each.round for found in curves.values() for each in found]))
    return as_json(figure, "Round", "Proxy accuracy, %")


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
    return as_json(figure, axis, "", height=120 + 44 * len(costs))


def _broken_line(curves: Iterable[tuple[Row, Sequence[Round]]]) -> tuple[list[Any], list[Any], list[str]]:
    """Return the curves as one line with gaps: a trace for each trial would be slow and fill the legend."""
    x: list[Any] = []
    y: list[Any] = []
    text: list[str] = []
    for trial, rounds in curves:
        x += [*(each.round for each in rounds), None]
        y += [*(points(each.proxy_accuracy) for each in rounds), None]
        abouts = (about({**trial, **each.to_row()}) for each in rounds)
        fidelities = (html.escape(each.fidelity, quote=False) for each in rounds)
        text += [*(f"{told}<br>{fidelity}" for told, fidelity in zip(abouts, fidelities, strict=True)), ""]
    return x, y, text


def _sortable(value: float) -> float:
    return value if math.isfinite(value) else -math.inf
