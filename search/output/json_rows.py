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

from search.pipeline.retrained_models import models_of
from search.runs.directory import RunDirectory, model_name

Row = Mapping[str, Any]


def print_rows(rows: Sequence[Row]) -> None:
    """Print the rows."""
    print(json.dumps([_plain(row) for row in rows], ensure_ascii=False, allow_nan=False))


def of_run(rows: Sequence[Row], run: Path) -> list[Row]:
    """Return rows about a run, none of which has a model of its own."""
    return [{**row, "run": str(run), "models": []} for row in rows]


def of_leaderboard(rows: Sequence[Row], run: Path) -> list[Row]:
    """Return the rows of a leaderboard with the retrained models, one a seed, and the report that they are in."""
    made = models_of(RunDirectory(run))
    return [
        {
            **row,
            "run": str(run),
            "report": str(run / "report.html"),
            "models": [str(made[name]) for name in _names(row) if name in made],
        }
        for row in rows
    ]


def _names(row: Row) -> list[str]:
    return [model_name(row["trial"], seed, row["recipe"]) for seed in range(row["seeds"])]


def of_study(rows: Sequence[Row], run: Path) -> list[Row]:
    """Return the rows of a study with the ticket of each."""
    from trainables.laboratory import Cell, StudyFiles

    files = StudyFiles(run)
    tickets = [files.ticket(Cell(row["network"], row["seed"], row["method"], row["target_sparsity"])) for row in rows]
    return [
        {**row, "run": str(run), "models": [str(ticket)] if ticket.exists() else []}
        for row, ticket in zip(rows, tickets, strict=True)
    ]


def _plain(value: Any) -> Any:
    """Return a value as every reader of JSON takes it: a NaN or an infinity is null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
