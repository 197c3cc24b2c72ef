"""The leaderboard as the terminal shows it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from search.prunable import prunable_by_rank


def leaderboard_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return the leaderboard for the terminal; in 90 columns or more, only names are folded, never a figure.

    The rank of a model that was drawn for the audit, rather than promoted, has the word before it. Below it stands how
    many parameters the sparsities are about.
    """
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0, title="Leaderboard", title_justify="left")
    figures = [_figures(row) for row in rows]
    for heading in ("Rank", "Test\naccuracy\n%", "Proxy\naccuracy\n%", "Sparsity\n%", "Parameters\nleft"):
        _add_figures(table, heading, [line[heading] for line in figures])
    table.add_column("Architecture", overflow="fold", min_width=4)
    table.add_column("Source", overflow="fold", min_width=3)
    for heading in ("ipc", "Screening\ns", "Retraining\ns"):
        _add_figures(table, heading, [line[heading] for line in figures])
    for row, line in zip(rows, figures, strict=True):
        names = {"Architecture": str(row["architecture"]), "Source": str(row["source"])}
        cells = {**line, **names}
        # Text, not str: a name holding "[…]" is not markup.
        table.add_row(*(Text(cells[str(column.header)]) for column in table.columns))
    table.caption, table.caption_justify = Text(prunable_by_rank(rows)) or None, "left"
    return table


def _figures(row: Mapping[str, Any]) -> dict[str, str]:
    deviation = row["test_accuracy_std"] if row["seeds"] > 1 else None
    return {
        "Rank": f"audit {row['rank']}" if row["audited"] else str(row["rank"]),
        "Test\naccuracy\n%": _percent(row["test_accuracy"], 2, deviation),
        "Proxy\naccuracy\n%": _percent(row["proxy_accuracy"], 1, row["proxy_accuracy_sem"]),
        "Sparsity\n%": _percent(row["sparsity"], 1),
        "Parameters\nleft": f"{row['parameters_left']:,}",
        "ipc": "-" if row["ipc"] is None else str(row["ipc"]),
        "Screening\ns": f"{row['screening_seconds']:,.1f}",
        "Retraining\ns": f"{row['retraining_seconds']:,.1f}",
    }


def _percent(fraction: float, decimals: int, spread: float | None = None) -> str:
    text = "-" if math.isnan(fraction) else f"{100 * fraction:.{decimals}f}"
    return text if spread is None else f"{text} ± {_percent(spread, decimals)}"


def _add_figures(table: Table, heading: str, cells: Sequence[str]) -> None:
    width = max(len(text) for text in [*heading.split("\n"), *cells])
    table.add_column(heading, justify="right", no_wrap=True, min_width=width)
