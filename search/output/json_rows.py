"""What `--json` prints, whatever the command: one list of rows, each an object, on one line.

A row is what a table of the command has in a line: a model, a method, a proxy, a set, a measurement, a check; or, for
`status`, the run. Every row about a run has `run`, its folder, and `models`, the folders of what was trained or pruned
for the row. What is not known, or no number, is null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]


def print_rows(rows: Sequence[Row]) -> None:
    """Print the rows."""
    print(json.dumps([_plain(row) for row in rows], ensure_ascii=False, allow_nan=False))


def of_run(rows: Sequence[Row], run: Path) -> list[Row]:
    """Return rows about a run, none of which has a model of its own."""
    return [{**row, "run": str(run), "models": []} for row in rows]


def _plain(value: Any) -> Any:
    """Return a value as every reader of JSON takes it: a NaN or an infinity is null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
