"""How far a run is, as a terminal or a program wants it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from search.output.json_rows import print_rows
from search.output.terminal import console_of_width

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
