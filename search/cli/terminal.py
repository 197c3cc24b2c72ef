"""Results as a terminal, a log file or a program wants them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from search.output.json_rows import of_leaderboard, of_run, of_study, print_rows


def show_study(rows: Sequence[Mapping[str, Any]], run: Path, as_json: bool) -> None:
    """Print the tables of a study."""
    from search.comparison.tables import prune_tables

    if as_json:
        print_rows(of_study(rows, run))
        return
    console = console_of_width(180)
    for table in prune_tables(rows):
        console.print(table)
    if rows:
        console.print(f"Tables and plots: {run / 'results.md'}, {run / 'figures'}", highlight=False)


def show_proxies(rows: Sequence[Mapping[str, Any]], run: Path, as_json: bool) -> None:
    """Print the answers of a proxy evaluation."""
    from search.proxies.parquet import read_regrets, read_subsets
    from search.proxies.tables import proxy_tables

    if as_json:
        print_rows(of_run(rows, run))
        return
    console = console_of_width(180)
    for table in proxy_tables(rows, read_subsets(run / "subsets.parquet"), read_regrets(run / "regret.parquet")):
        console.print(table)
    console.print(f"Tables and plots: {run / 'results.md'}, {run / 'figures'}", highlight=False)


def show_leaderboard(rows: Sequence[Mapping[str, Any]], run: Path, as_json: bool) -> None:
    """Print the leaderboard of a search."""
    from search.pipeline.bad_ends import read_bad_ends
    from search.pipeline.leaderboard_table import leaderboard_table, recipes_table
    from search.runs.directory import RunDirectory

    if as_json:
        print_rows(of_leaderboard(rows, run))
        return
    console = console_of_width(140)
    console.print(leaderboard_table(rows))
    if (recipes := recipes_table(rows)) is not None:
        console.print(recipes)
    for end in read_bad_ends(RunDirectory(run).bad_ends):
        console.print(f"Came to nothing: {end.sentence}", highlight=False, markup=False)
    console.print(f"Report: {run / 'report.html'}", highlight=False)
    console.print(f"Curves: tensorboard --logdir {run / 'tensorboard'}", highlight=False)


def show_sets(rows: Sequence[Mapping[str, Any]], run: Path, as_json: bool) -> None:
    """Print the sets that a distillation made."""
    from search.distillation.table import sets_table

    if as_json:
        print_rows(of_run(rows, run))
        return
    console = console_of_width(140)
    console.print(sets_table(rows))
    console.print(f"Pictures: {run / 'images'}", highlight=False)
    console.print(f"Curves: tensorboard --logdir {run / 'tensorboard'}", highlight=False)


_FOR_PROGRAMS = ("models", "estimated_seconds")


def show_status(status: Mapping[str, Any], as_json: bool) -> None:
    """Print one fact a line; what is not known yet is not said."""
    if as_json:
        print_rows([{"models": [], **status}])
        return
    table = Table.grid(padding=(0, 2))
    for key, value in status.items():
        if key not in _FOR_PROGRAMS and value is not None and value != []:
            table.add_row(f"[bold]{key.replace('_', ' ')}", Text("\n".join(_lines(value))))
    console_of_width(140).print(table)


def _lines(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [", ".join(f"{key.replace('_', ' ')} {_lines(item)[0]}" for key, item in value.items())]
    if isinstance(value, list):
        return [line for item in value for line in _lines(item)]
    return [f"{value:,.4g}" if isinstance(value, float) else str(value)]


def console_of_width(width: int) -> Console:
    """Return a console as wide as the terminal; in a log file or a pipe a table is as wide as it needs to be."""
    return Console() if sys.stdout.isatty() else Console(width=width)
