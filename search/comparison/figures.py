"""The figures of `winnow prune`: each function turns the rows of one network into panels, or None without the data."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from search.comparison.budgets import Budget, budgets_by_family, paid
from search.comparison.sheets import sparsity_label
from search.comparison.statistics import Row, by_sparsity, deviation, mean, rounded, summarise
from search.comparison.totals import Unit, accuracy_against_total
from search.output.drawing import save
from search.output.panels import GREY, PALE, Axis, Level, Line, Panel, Style, round_ticks, shade, style
from search.output.rows import finite, grouped

Published = tuple[str, Sequence[float], Sequence[float]]
"""A curve from a paper: its label, target sparsities and test accuracies, both in [0, 1]."""

FEW_METHODS = 8
"""Up to this many methods share one panel; more get one panel a family."""

_ACCURACY = Axis("Test accuracy, %", bounds=(0, 100))
_DENSE = Style(GREY, dashes="--")


def write_figures(rows: Sequence[Row], folder: Path, published: Sequence[Published] = ()) -> list[Path]:
    """Write the figures that the result rows allow, as SVG files, and return their paths.

    For each network: accuracy against sparsity, against the image-gradients and the processor seconds that the mask
    cost, against those of mask and training, error along the path between two trainings, and density by layer at the
    highest sparsity. Means over seeds with their sample standard deviation. `published` curves are dotted in the first;
    they belong to every network.
    """
    written = []
    for (network,), group in grouped(rows, "network").items():
        figures = {
            "accuracy-sparsity": accuracy_against_sparsity(group, published),
            "accuracy-image-gradients": accuracy_against_image_gradients(group),
            "accuracy-processor-seconds": accuracy_against_processor_seconds(group),
            "accuracy-total-image-gradients": accuracy_against_all_spent(group, "image_gradients"),
            "accuracy-total-processor-seconds": accuracy_against_all_spent(group, "processor_seconds"),
            "interpolation": interpolation(group),
            "layer-density": layer_density(group),
        }
        name = re.sub(r"[^\w.-]+", "-", str(network))
        for kind, panels in figures.items():
            if panels:
                written.append(folder / f"{kind}-{name}.svg")
                save(panels, written[-1])
    return written


def accuracy_against_sparsity(rows: Sequence[Row], published: Sequence[Published] = ()) -> list[Panel]:
    """Return one panel, or with many methods one a family that shows the other methods in pale grey."""
    summary = [row for row in summarise(rows) if row["test_accuracy"] is not None and (row["sparsity"] or 0) < 1]
    dense = [row for row in summary if row["target_sparsity"] == 0]
    sparse = [row for row in summary if row["target_sparsity"] > 0]
    if not sparse:
        return []
    styles = _styles(rows)
    ticks = [(1 - at, sparsity_label(at).removesuffix(" %")) for at in by_sparsity(sparse)]
    x = Axis("Sparsity, %", "log", ticks, reverse=True)
    levels = [_level(row["method"], row["test_accuracy"], row["test_accuracy_std"], _DENSE) for row in dense]
    dotted = [_published(curve) for curve in published]
    curves = {method: _curve(method, group, styles[method]) for (method,), group in grouped(sparse, "method").items()}
    return [
        Panel(title, x, _ACCURACY, [*pale, *dotted, *own], levels, cut=True)
        for title, pale, own in _by_family(curves, sparse)
    ]


def accuracy_against_image_gradients(rows: Sequence[Row]) -> list[Panel]:
    """Return one panel a target sparsity: a line a family over its budgets, levels for dense and for free masks."""
    return _against_cost(rows, lambda budget: budget.image_gradients, "Image-gradients of the mask's own rounds")


def accuracy_against_processor_seconds(rows: Sequence[Row]) -> list[Panel]:
    """Return the same over processor seconds."""
    return _against_cost(rows, lambda budget: budget.processor_seconds, "Processor seconds of the mask's own rounds")


def accuracy_against_all_spent(rows: Sequence[Row], unit: Unit) -> list[Panel]:
    """Return one panel a target sparsity: a line a family over all that its networks cost, see `in_all`."""
    styles = _family_styles(rows)
    return accuracy_against_total(rows, unit, lambda family: styles.get(family, _DENSE))


def interpolation(rows: Sequence[Row]) -> list[Panel]:
    """Return one panel a target sparsity with the error along the path between two trainings, a line a method."""
    styles = _styles(rows)
    measured = [row for row in rows if row.get("positions") and row.get("path_errors")]
    x, y = Axis("Position between two trainings"), Axis("Validation error, %")
    panels = []
    for sparsity, cell in by_sparsity(measured).items():
        lines = []
        for (method,), group in grouped(cell, "method").items():
            places = group[0]["positions"]
            errors = [np.interp(places, row["positions"], row["path_errors"]) for row in group]
            lines.append(Line(method, places, (100 * np.mean(errors, axis=0)).tolist(), styles[method]))
        panels.append(Panel(_title(sparsity), x, y, lines))
    return panels


def layer_density(rows: Sequence[Row], sparsity: float | None = None) -> list[Panel]:
    """Return a panel of the weights left in each layer at a target sparsity (the highest), a line a method.

    A layer without weights is drawn at the lower edge, since its logarithm has no place.
    """
    known = by_sparsity([row for row in rows if row.get("layer_densities") and row["target_sparsity"] > 0])
    chosen = max(known, default=None) if sparsity is None else rounded(sparsity)
    if chosen is None or chosen not in known:
        return []
    names = list(dict.fromkeys(layer["name"] for row in known[chosen] for layer in row["layer_densities"]))
    styles = _styles(rows)
    means: dict[str, dict[str, float]] = {}
    for (method,), group in grouped(known[chosen], "method").items():
        layers = [layer for row in group for layer in row["layer_densities"]]
        means[method] = {
            name: 100 * (mean(finite(of, "density")) or 0) for (name,), of in grouped(layers, "name").items()
        }
    floor = min((value for found in means.values() for value in found.values() if value > 0), default=1.0) / 2
    lines = {}
    for method, found in means.items():
        places = [place for place, name in enumerate(names) if name in found]
        lines[method] = Line(method, places, [max(found[names[place]], floor) for place in places], styles[method])
    shown = [value for line in lines.values() for value in line.y]
    x = Axis("", ticks=list(enumerate(name.removesuffix(".weight") for name in names)), slanted=True)
    y = Axis("Weights left, %", "log", round_ticks(min(shown), max(shown)))
    return [Panel(title, x, y, [*pale, *own]) for title, pale, own in _by_family(lines, known[chosen])]


def _against_cost(rows: Sequence[Row], cost: Callable[[Budget], float], label: str) -> list[Panel]:
    dense = [row for row in summarise(rows) if row["target_sparsity"] == 0 and row["test_accuracy"] is not None]
    styles = _family_styles(rows)
    panels = []
    for sparsity, cell in by_sparsity([row for row in rows if row["target_sparsity"] > 0]).items():
        families = budgets_by_family(cell)
        spent = {name: [budget for budget in paid(found) if cost(budget) > 0] for name, found in families.items()}
        lines = [_budget_line(name, found, cost, styles[name]) for name, found in spent.items() if found]
        if not lines:
            continue
        free = [(name, budget) for name, found in families.items() for budget in found if budget.image_gradients == 0]
        levels = [_level(row["method"], row["test_accuracy"], row["test_accuracy_std"], _DENSE) for row in dense]
        for name, budget in free:
            reached = list(budget.accuracies.values())
            style_free = Style(styles[name].colour, dashes="-.")
            levels.append(_level(budget.method, fmean(reached), deviation(reached), style_free))
        places = [value for line in lines for value in line.x]
        x = Axis(label, "log", round_ticks(min(places), max(places)))
        panels.append(Panel(_title(sparsity), x, _ACCURACY, lines, levels, spread="bars", cut=True))
    return panels


def _budget_line(family: str, budgets: Sequence[Budget], cost: Callable[[Budget], float], drawn_as: Style) -> Line:
    ordered = sorted(budgets, key=cost)
    reached = [list(budget.accuracies.values()) for budget in ordered]
    means = [100 * fmean(values) for values in reached]
    return Line(
        family, [cost(budget) for budget in ordered], means, drawn_as, [_percent(deviation(v)) for v in reached]
    )


def _curve(method: str, summary: Sequence[Row], drawn_as: Style) -> Line:
    ordered = sorted(summary, key=lambda row: float(row["target_sparsity"]))
    means = [100 * row["test_accuracy"] for row in ordered]
    spreads = [_percent(row["test_accuracy_std"]) for row in ordered]
    return Line(method, [1 - row["sparsity"] for row in ordered], means, drawn_as, spreads)


def _published(curve: Published) -> Line:
    label, sparsities, accuracies = curve
    points = sorted((1 - sparsity, 100 * accuracy) for sparsity, accuracy in zip(sparsities, accuracies, strict=True))
    return Line(label, [x for x, _ in reversed(points)], [y for _, y in reversed(points)], Style(GREY, ".", ":"))


def _level(label: str, accuracy: float, spread: float | None, drawn_as: Style) -> Level:
    return Level(label, 100 * accuracy, drawn_as, _percent(spread))


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else 100 * fraction


def _title(sparsity: float) -> str:
    return "dense" if sparsity == 0 else f"{sparsity_label(sparsity)} sparse"


def _by_family(lines: Mapping[str, Line], rows: Sequence[Row]) -> list[tuple[str, list[Line], list[Line]]]:
    """Return title, pale and own lines of each panel: one for few methods or without budgets, else one a family.

    Families with one method share the last. Pale are all methods of the other panels.
    """
    families: dict[str, list[str]] = {}
    for family, method in dict.fromkeys((row["family"], row["method"]) for row in rows):
        families.setdefault(family, []).append(method)
    if len(lines) <= FEW_METHODS or len(families) == len(lines):
        return [("", [], list(lines.values()))]
    shares = {family: methods for family, methods in families.items() if len(methods) > 1}
    alone = [methods[0] for methods in families.values() if len(methods) == 1]
    if alone:
        shares["others" if len(alone) > 1 else alone[0]] = alone
    pale = {method: Line("", line.x, line.y, Style(PALE)) for method, line in lines.items()}
    return [
        (title, [line for method, line in pale.items() if method not in own], [lines[method] for method in own])
        for title, own in shares.items()
    ]


def _family_styles(rows: Sequence[Row]) -> dict[str, Style]:
    """Return a style for each family that prunes; what is dense is grey everywhere."""
    families = dict.fromkeys(row["family"] for row in rows if row["target_sparsity"] > 0)
    return {family: style(number) for number, family in enumerate(families)}


def _styles(rows: Sequence[Row]) -> dict[str, Style]:
    """Return a style for each method: its family's colour, paler for the cheaper ones."""
    families = _family_styles(rows)
    styles = {row["method"]: _DENSE for row in rows if row["target_sparsity"] == 0}
    for (family,), of_family in grouped([row for row in rows if row["target_sparsity"] > 0], "family").items():
        spent = {
            name: max(finite(of, "mask_image_gradients"), default=0.0)
            for (name,), of in grouped(of_family, "method").items()
        }
        for number, method in enumerate(sorted(spent, key=lambda name: spent[name])):
            styles[method] = families[family] if len(spent) == 1 else shade(families[family], number, len(spent))
    return styles
