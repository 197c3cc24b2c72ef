"""The leaderboard as the terminal shows it, and the recipes that stand behind it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from search.output.prunable import prunable_by_rank
from search.pipeline.retraining_plan import what_differs

_FIRST = ("Rank", "Trial", "Test\naccuracy\n%", "Proxy\naccuracy\n%", "Spar-\nse %", "Param.\nleft")
_LAST = ("ipc", "Steps", "Screen\ns", "Ep-\nochs", "Retrain\ns")


def leaderboard_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return the leaderboard for the terminal; in 90 columns or more, only names are folded, never a figure.

    The rank of a model that was drawn for the audit, rather than promoted, has the word before it. Rows without a rank
    are left out, see `recipes_table`. Below it stands how many parameters the sparsities are about.
    """
    ranked = [row for row in rows if row["rank"] is not None]
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0, title="Leaderboard", title_justify="left")
    figures = [_figures(row) for row in ranked]
    for heading in _FIRST:
        _add_figures(table, heading, [line[heading] for line in figures])
    table.add_column("Architecture", overflow="fold", min_width=4)
    table.add_column("Source", overflow="fold", min_width=3)
    for heading in _LAST:
        _add_figures(table, heading, [line[heading] for line in figures])
    for row, line in zip(ranked, figures, strict=True):
        names = {"Architecture": str(row["architecture"]), "Source": str(row["source"])}
        cells = {**line, **names}
        # Text, not str: a name holding "[…]" is not markup.
        table.add_row(*(Text(cells[str(column.header)]) for column in table.columns))
    table.caption, table.caption_justify = Text(prunable_by_rank(ranked)) or None, "left"
    return table


def recipes_table(rows: Sequence[Mapping[str, Any]]) -> Table | None:
    """Return the tickets that were retrained by several recipes, None if there are none.

    They are compared by validation accuracy, by which the one that the leaderboard has was chosen.
    """
    chosen = several_recipes(rows)
    if not chosen:
        return None
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0, title_justify="left")
    table.title = "Retrained by several recipes: the one of highest validation accuracy has a rank"
    lines = [
        {
            "Trial": str(row["trial"]),
            "Validation\naccuracy\n%": _percent(row["validation_accuracy"], 2),
            "Epochs": str(row["epochs"]),
            "Seeds": str(row["seeds"]),
            "Retrain\ns": _seconds(row["retraining_seconds"]),
            "Rank": "-" if row["rank"] is None else str(row["rank"]),
        }
        for row in chosen
    ]
    for heading in lines[0]:
        _add_figures(table, heading, [line[heading] for line in lines])
    table.add_column("Recipe", overflow="fold")
    differences = what_differs([row["recipe_settings"] for row in chosen])
    for row, line, different in zip(chosen, lines, differences, strict=True):
        table.add_row(*(Text(cell) for cell in line.values()), Text(f"{row['recipe']} {different}".rstrip()))
    return table


def _figures(row: Mapping[str, Any]) -> dict[str, str]:
    deviation = row["test_accuracy_std"] if row["seeds"] > 1 else None
    return {
        "Rank": f"audit {row['rank']}" if row["audited"] else str(row["rank"]),
        "Trial": str(row["trial"]),
        "Ep-\nochs": str(row["epochs"]),
        "Test\naccuracy\n%": _percent(row["test_accuracy"], 2, deviation),
        "Proxy\naccuracy\n%": _percent(row["proxy_accuracy"], 1, row["proxy_accuracy_sem"]),
        "Spar-\nse %": _percent(row["sparsity"], 1),
        "Param.\nleft": f"{row['parameters_left']:,}",
        "ipc": "-" if row["ipc"] is None else str(row["ipc"]),
        "Steps": "-" if row["steps"] is None else f"{row['steps']:,}",
        "Screen\ns": _seconds(row["screening_seconds"]),
        "Retrain\ns": _seconds(row["retraining_seconds"]),
    }


def _seconds(seconds: float) -> str:
    return f"{seconds:,.1f}" if seconds < 100 else f"{seconds:,.0f}"


def _percent(fraction: float, decimals: int, spread: float | None = None) -> str:
    text = "-" if math.isnan(fraction) else f"{100 * fraction:.{decimals}f}"
    return text if spread is None else f"{text} ± {_percent(spread, decimals)}"


def _add_figures(table: Table, heading: str, cells: Sequence[str]) -> None:
    width = max(len(text) for text in [*heading.split("\n"), *cells])
    table.add_column(heading, justify="right", no_wrap=True, min_width=width)


def several_recipes(board: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the rows of tickets that were retrained by several recipes, each ticket's in the order of their choice."""
    several = {row["trial"] for row in board if row["rank"] is None}
    rows = [row for row in board if row["trial"] in several]
    return sorted(rows, key=lambda row: (row["trial"], row["rank"] is None, -row["validation_accuracy"]))
