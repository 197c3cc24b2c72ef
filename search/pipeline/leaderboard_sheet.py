"""The leaderboard as the terminal shows it, and the recipes that stand behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search.output.numbers import accuracy, count, percent, proxy
from search.output.prunable import prunable_by_rank
from search.output.sheet import Sheet
from search.pipeline.retraining_plan import what_differs
from trainables.retraining.method import TICKET

_HEADINGS = (
    "Rank", "Trial", "Test\naccuracy\n%", "Proxy\naccuracy\n%", "Spar-\nse %", "Param.\nleft", "Architecture", "Source",
    "ipc", "Steps", "Screen\ns", "Ep-\nochs", "Retrain\ns",
)  # fmt: skip
_NAMES = (6, 7)
_SOURCE = _HEADINGS.index("Source")
_OF_RECIPES = ("Trial", "Validation\naccuracy\n%", "Epochs", "Seeds", "Retrain\ns", "Rank", "Recipe")


def leaderboard_sheet(rows: Sequence[Mapping[str, Any]]) -> Sheet:
    """Return the leaderboard for the terminal, which fits into 90 columns; where there are several, with methods.

    The rank of a model that was drawn for the audit, rather than promoted, has the word before it. Rows without a rank
    are left out, see `recipes_sheet`. Below it stands how many parameters the sparsities are about.
    """
    ranked = [row for row in rows if row["rank"] is not None]
    headings, lines = list(_HEADINGS), [_line(row) for row in ranked]
    if has_methods(ranked):  # in a column of its own it would take the figures' room
        for line, method in zip([headings, *lines], ["method", *map(_method, ranked)], strict=True):
            line[_SOURCE] += f"\n{method}"
    return Sheet(headings, lines, "Leaderboard", prunable_by_rank(ranked), _NAMES)


def has_methods(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a network of the leaderboard became sparse in another way than with its ticket's mask."""
    return any(_method(row) != TICKET for row in rows)


def _method(row: Mapping[str, Any]) -> str:
    return row["method"] or TICKET  # of tables from before there were several


def recipes_sheet(rows: Sequence[Mapping[str, Any]]) -> Sheet | None:
    """Return the tickets that were retrained by several recipes, None if there are none.

    They are compared by validation accuracy, by which the one that the leaderboard has was chosen.
    """
    chosen = several_recipes(rows)
    if not chosen:
        return None
    differences = what_differs([row["recipe_settings"] for row in chosen])
    lines = [
        [
            str(row["trial"]),
            percent(row["validation_accuracy"], 2),
            str(row["epochs"]),
            str(row["seeds"]),
            _seconds(row["retraining_seconds"]),
            count(row["rank"]),
            f"{row['recipe']} {different}".rstrip(),
        ]
        for row, different in zip(chosen, differences, strict=True)
    ]
    title = "Retrained by several recipes: the one of highest validation accuracy has a rank"
    return Sheet(_OF_RECIPES, lines, title, names=(6,))


def _line(row: Mapping[str, Any]) -> list[str]:
    return [
        f"audit {row['rank']}" if row["audited"] else str(row["rank"]),
        str(row["trial"]),
        accuracy(row["test_accuracy"], row["test_accuracy_std"], row["seeds"]),
        proxy(row["proxy_accuracy"], row["proxy_accuracy_sem"]),
        percent(row["sparsity"]),
        count(row["parameters_left"]),
        str(row["architecture"]),
        str(row["source"]),
        count(row["ipc"]),
        count(row["steps"]),
        _seconds(row["screening_seconds"]),
        str(row["epochs"]),
        _seconds(row["retraining_seconds"]),
    ]


def _seconds(seconds: float) -> str:
    return f"{seconds:,.1f}" if seconds < 100 else f"{seconds:,.0f}"


def several_recipes(board: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the rows of tickets that were retrained by several recipes, each ticket's in the order of their choice."""
    several = {(row["trial"], row["method"]) for row in board if row["rank"] is None}
    rows = [row for row in board if (row["trial"], row["method"]) in several]
    return sorted(rows, key=lambda row: (row["trial"], row["method"], row["rank"] is None, -row["validation_accuracy"]))
