"""The figures of a search with several objectives: its Pareto fronts, and how they grew."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from search.config.objectives import Objective
from search.pipeline.tables import last_round
from search.report.facts import Row
from search.report.front import SHOWN
from search.report.plotting import about, as_json, by_source, thinned, whole_numbers


def pareto_front(
    trials: Sequence[Row], members: Sequence[Row], objectives: Sequence[Objective], palette: Mapping[str, str]
) -> str:
    """Return the scatter of finished trials over the first two objectives, the fronts filled and joined by a line."""
    first, second = objectives[:2]
    chosen = {row["trial"] for row in members}
    others = [row for row in trials if row["state"] == "COMPLETE" and row["trial"] not in chosen]
    figure = go.Figure()
    for source, rows in by_source(thinned(others)):
        figure.add_scatter(
            x=_values(rows, first),
            y=_values(rows, second),
            mode="markers",
            marker={"size": 5, "color": palette[source], "opacity": 0.3},
            showlegend=False,
            text=[about(row) for row in rows],
            hovertemplate="%{text}<br>%{x:.4g}, %{y:.4g}<extra></extra>",
        )
    for source, rows in by_source(members):
        ordered = sorted(rows, key=lambda row: first.value(last_round(row)))
        figure.add_scatter(
            x=_values(ordered, first),
            y=_values(ordered, second),
            # With more objectives the front is a surface, of which a line through the points would say nothing.
            mode="lines+markers" if len(objectives) == 2 else "markers",
            name=html.escape(source, quote=False),
            line={"width": 1.5, "color": palette[source], "shape": "linear"},
            marker={"size": 9, "color": palette[source]},
            text=[about(row) for row in ordered],
            hovertemplate="%{text}<br>%{x:.4g}, %{y:.4g}<extra></extra>",
        )
    figure.update_xaxes(_scale(first))
    figure.update_yaxes(_scale(second))
    return as_json(figure, SHOWN[first.name].heading, SHOWN[second.name].heading)


def hypervolume_growth(grown: Mapping[str, Sequence[tuple[int, float]]], palette: Mapping[str, str]) -> str:
    """Return the curves of the hypervolume over finished trials, one a source."""
    figure = go.Figure()
    for source, moments in grown.items():
        figure.add_scatter(
            x=[number for number, _ in moments],
            y=[round(100 * volume, 3) for _, volume in moments],
            mode="lines+markers",
            name=html.escape(source, quote=False),
            line={"width": 1.5, "color": palette[source], "shape": "hv"},
            marker={"size": 4},
            hovertemplate="after %{x} finished trials: %{y:.1f} %<extra></extra>",
        )
    figure.update_xaxes(whole_numbers([number for moments in grown.values() for number, _ in moments]))
    return as_json(figure, "Finished trials of the source", "Hypervolume, % of the box", height=300)


def _scale(objective: Objective) -> dict[str, str]:
    # D2: of a decade the 1, the 2 and the 5.
    return {"type": "log", "dtick": "D2"} if SHOWN[objective.name].log else {"type": "linear"}


def _values(rows: Sequence[Row], objective: Objective) -> list[float]:
    scale = SHOWN[objective.name].scale
    return [float(f"{scale * objective.value(last_round(row)):.6g}") for row in rows]
