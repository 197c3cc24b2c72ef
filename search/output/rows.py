"""Rows of a table: grouped, and the numbers of a column."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def finite(rows: Sequence[Row], column: str) -> list[float]:
    """Return the values of a column that are there and are finite numbers."""
    values = [row.get(column) for row in rows]
    return [float(value) for value in values if value is not None and math.isfinite(value)]


def grouped(rows: Sequence[Row], *columns: str) -> dict[tuple[Any, ...], list[Row]]:
    """Return the rows by their values of `columns`, in the order in which these first appear."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[column] for column in columns), []).append(row)
    return groups
