"""The one shape of what `--json` prints."""

from __future__ import annotations

import json
from typing import Any


def rows_of(out: str) -> list[dict[str, Any]]:
    """Return the rows that a command printed, having seen that they are one line, rows, and what JSON has."""
    assert out.count("\n") == 1
    assert out.endswith("\n")
    rows = json.loads(out, parse_constant=_refuse)
    assert isinstance(rows, list)
    for row in rows:
        assert isinstance(row, dict)
        assert row
    return rows


def rows_of_run(out: str, run: object) -> list[dict[str, Any]]:
    """Return the rows about a run: each names it, and lists the folders of what was made for it."""
    rows = rows_of(out)
    for row in rows:
        assert row["run"] == str(run)
        assert isinstance(row["models"], list)
    return rows


def of_table(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows without what tells of the run's folder: as they are in its tables."""
    return [{key: row[key] for key in row if key not in ("run", "models", "report")} for row in rows]


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")
