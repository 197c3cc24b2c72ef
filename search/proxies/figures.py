"""The figures of a proxy evaluation: rank correlation against cost, accuracy against budget, scores against truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from search.output.drawing import save
from search.output.panels import GREY, Axis, Level, Line, Panel, Style, round_ticks, shade, style
from search.proxies.answers import TRAIN_EVERYTHING
from search.proxies.budget import Point
from search.proxies.budget_section import curves, units
from search.proxies.cells import COSTS, Row, known, plain
from search.proxies.growth import drawn_points, growth_curves
from search.proxies.standings import baseline_of, by_spearman, distilled, families, family

_PLOTTED = 6
"""Scores that get a panel of their own."""

_MOST_POINTS = 1_000
"""Architectures in a panel; of more, evenly many of all accuracies."""

_CURVES = 5  # scores in the figure of budgets


def write_figures(
    answers: Sequence[Row],
    budgets: Sequence[Row],
    truths: Sequence[Row],
    columns: Mapping[str, Sequence[float]],
    folder: Path,
) -> list[Path]:
    """Write the figures that the rows allow, as SVG files, and return their paths.

    Args:
        answers: a row for each score.
        budgets: for each way to choose, k and unit of cost.
        truths: for each architecture, N rows.
        columns: each score's values [N], aligned with `truths`; NaN where there is none.
        folder: of the files.
    """
    figures = {
        "rank-correlation": rank_correlation(answers, "processor_seconds"),
        "rank-correlation-image-gradients": rank_correlation(answers, "image_gradients"),
        "budget": budget(answers, budgets),
        "scores-truth": scores_against_truth(answers, truths, columns),
    }
    written = []
    for name, panels in figures.items():
        if panels:
            written.append(folder / f"{name}.svg")
            save(panels, written[-1])
    return written


def rank_correlation(answers: Sequence[Row], unit: str) -> list[Panel]:
    """Return a panel of Spearman's rho against what a score costs in `unit`: a style and a line for each family.

    Bars are 95 % intervals; the baseline is a level. Scores that cost nothing in this unit have no place on a
    logarithmic axis and are left out; the baseline's level stays.
    """
    styles = _styles(answers)
    baseline = next((row for row in answers if row["proxy"] == row["baseline"] and known(row["spearman"])), None)
    lines = []
    for name, readings in families(answers).items():
        ranked = [row for row in readings if known(row["spearman"]) and known(row[unit]) and row[unit] > 0]
        ranked.sort(key=lambda row: float(row[unit]))
        if ranked:
            lines += [_bar(row, unit, styles[name]) for row in ranked if known(row["spearman_low"])]
            label = "" if ranked == [baseline] else name  # the level has it
            lines.append(Line(label, _values(ranked, unit), _values(ranked, "spearman"), styles[name]))
    if not lines:
        return []
    levels = [] if baseline is None else [Level(baseline["proxy"], baseline["spearman"], Style(GREY, dashes="--"))]
    places = [x for line in lines for x in line.x]
    x = Axis(f"{COSTS[unit]} an architecture", "log", round_ticks(min(places), max(places)))
    return [Panel("", x, Axis("Spearman's rank correlation", bounds=(-1, 1)), lines, levels)]


def budget(answers: Sequence[Row], budgets: Sequence[Row]) -> list[Panel]:
    """Return a panel of the accuracy that is found against all that it costs, in seconds if there are any.

    Of the scores the best readings of the five families of highest Spearman, not those that were lucky; random search,
    and a point for training everything. A curve ends with a marker where it has found its best.
    """
    told = units(budgets)
    if not told:
        return []
    unit = told[0]
    best = by_spearman([readings[0] for readings in families(answers).values()])
    found = growth_curves(curves(budgets, unit), [row["proxy"] for row in best[:_CURVES]])
    styles = _distinct(list(found), _styles(answers))
    lines = [_stairs(name, drawn_points(points), styles[name]) for name, points in found.items()]
    if not lines:
        return []
    # Most end at one height, the best accuracy: in this order the leaders to their labels do not cross.
    lines.sort(key=lambda line: line.x[-1])
    lines += [
        Line("", line.x[-1:], line.y[-1:], replace(line.style, marker=line.style.marker or "o")) for line in lines
    ]
    places = [x for line in lines for x in line.x]
    x = Axis(f"{COSTS[unit]} of scores and trainings in all", "log", round_ticks(min(places), max(places)))
    return [Panel("", x, Axis("Accuracy of the best one found, %", bounds=(0, 100)), lines)]


def _stairs(name: str, points: Sequence[Point], drawn_as: Style) -> Line:
    """Return a curve that rises where the next accuracy has been paid for."""
    costs = [point.cost for point in points for _ in range(2)][1:]
    accuracies = [100 * point.accuracy for point in points for _ in range(2)][:-1]
    return Line(name, costs, accuracies, drawn_as)


def scores_against_truth(
    answers: Sequence[Row], truths: Sequence[Row], columns: Mapping[str, Sequence[float]]
) -> list[Panel]:
    """Return a panel for each of a few scores: true accuracy against the place in its order, a point an architecture.

    The best reading of each family, the best families first; the baseline and the best distilled score always.
    """
    truth = np.array([row["accuracy"] if known(row["accuracy"]) else np.nan for row in truths], float)
    styles = _styles(answers)
    panels = []
    for row in _chosen([row for row in answers if row["proxy"] in columns]):
        values = np.asarray(columns[row["proxy"]], float)
        both = np.isfinite(values) & np.isfinite(truth)
        if not both.any():
            continue
        ranks, true = rankdata(values[both]), 100 * truth[both]
        kept = np.argsort(true)[:: -(-len(true) // _MOST_POINTS)]
        points = Style(styles[family(row["proxy"])].colour, ".", "")
        x, y = Axis("Place in its order, the last is its best"), Axis("True accuracy, %", bounds=(0, 100))
        title = f"{row['proxy']}: Spearman {plain(row['spearman'])}"
        panels.append(Panel(title, x, y, [Line("", ranks[kept].tolist(), true[kept].tolist(), points)]))
    return panels


def _chosen(answers: Sequence[Row]) -> list[Row]:
    best = by_spearman([readings[0] for readings in families(answers).values()])
    wanted: list[Callable[[Row], bool]] = [
        lambda row: row["proxy"] == baseline_of(answers),
        lambda row: distilled(row["kind"]),
    ]
    sure = [row for test in wanted for row in [row for row in by_spearman(answers) if test(row)][:1]]
    others = [row for row in best if row not in sure]
    return by_spearman([*sure, *others[: _PLOTTED - len(sure)]])


def _bar(row: Row, unit: str, drawn_as: Style) -> Line:
    """Return an interval as a line of its own: it is not symmetric."""
    pale = Style(shade(drawn_as, 0, 2).colour)
    return Line("", [row[unit]] * 2, [row["spearman_low"], row["spearman_high"]], pale)


def _values(rows: Sequence[Row], column: str) -> list[float]:
    return [float(row[column]) for row in rows]


def _styles(answers: Sequence[Row]) -> dict[str, Style]:
    """Return a style for each family."""
    return {name: style(number) for number, name in enumerate(families(answers))}


def _distinct(names: Sequence[str], styles: Mapping[str, Style]) -> dict[str, Style]:
    """Return a style for each curve: its family's colour, in shades where a family has several; controls are grey."""
    result = {}
    for name in names:
        same = [other for other in names if family(other) == family(name)]
        if name == TRAIN_EVERYTHING:
            result[name] = Style(GREY, "X", "")
        elif family(name) not in styles:
            result[name] = Style(GREY, dashes="--")
        else:
            base = styles[family(name)]
            result[name] = Style(shade(base, same.index(name), len(same)).colour, dashes=base.dashes)
    return result
