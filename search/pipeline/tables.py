"""The Parquet tables of a run directory: their columns, and what is written into them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from dp_core.errors import UserError
from search.output.columns import columns_of
from search.output.sealed_parquet import read_sealed
from search.output.tables import write_table
from search.runs.directory import RunDirectory
from trainables.screening.round import Round

PARAMETER_PREFIX = "params."


def _field(name: str, kind: pa.DataType, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable)


ROUNDS = pa.schema([_field("trial", pa.int64()), *columns_of(Round)])
TRIALS = pa.schema(
    [
        _field("trial", pa.int64()),
        _field("state", pa.string()),
        _field("reason", pa.string(), nullable=True),
        _field("broken_constraints", pa.string(), nullable=True),
        _field("rounds", pa.int64()),
        *(field.with_nullable(True) for field in columns_of(Round) if field.name != "round"),
        _field("source", pa.string()),
        _field("ipc", pa.int64(), nullable=True),
        _field("architecture", pa.string()),
    ]
)
LEADERBOARD = pa.schema(
    [
        _field("rank", pa.int64(), nullable=True),
        _field("trial", pa.int64()),
        _field("audited", pa.bool_()),
        _field("method", pa.string(), nullable=True),
        _field("recipe", pa.string()),
        _field("recipe_settings", pa.string()),
        _field("epochs", pa.int64()),
        _field("test_accuracy", pa.float64()),
        _field("test_accuracy_std", pa.float64(), nullable=True),
        _field("seeds", pa.int64()),
        _field("validation_accuracy", pa.float64()),
        *map(ROUNDS.field, ("proxy_accuracy", "proxy_accuracy_sem", "replicates", "sparsity", "prunable_parameters")),
        *map(ROUNDS.field, ("parameters", "parameters_left", "flops_dense", "flops_remaining", "latency_ms")),
        _field("architecture", pa.string()),
        _field("source", pa.string()),
        _field("ipc", pa.int64(), nullable=True),
        ROUNDS.field("steps"),
        _field("screening_seconds", pa.float64()),
        ROUNDS.field("image_gradients"),
        _field("retraining_seconds", pa.float64()),
        _field("retraining_image_gradients", pa.int64(), nullable=True),
    ]
)


def write_rounds(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write `rounds.parquet`: one row per trial and round; the columns are the fields of a `Round`.

    Raises:
        ValueError: an unknown or mistyped column, or nothing in one that must have a value.
        UserError: the disk is full.
    """
    write_table(path, rows, ROUNDS)


def write_trials(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write `trials.parquet`: one row per trial, with its last round's measures (null before the first round).

    `state` is COMPLETE, PRUNED, FAIL, RUNNING, WAITING or, for a proposal that was never trained, REJECTED (it broke a
    constraint) or REPEATED (`reason` names the trial that has its candidate). `broken_constraints` names the
    constraints that a trial breaks, separated by commas. Every further key must be `params.<dotted name>`; rows need
    not share these, since a conditional parameter exists in some trials only. Raises as `write_rounds`.
    """
    names = sorted({name for row in rows for name in row if name.startswith(PARAMETER_PREFIX)})
    kinds = {name: _inferred([row.get(name) for row in rows]) for name in names}
    texts = [name for name, kind in kinds.items() if kind == pa.string()]
    stored = [{**row, **{name: _text(row.get(name)) for name in texts}} for row in rows]
    write_table(path, stored, pa.schema([*TRIALS, *(pa.field(name, kind) for name, kind in kinds.items())]))


def write_leaderboard(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write `leaderboard.parquet`: one row per retrained ticket and recipe; `seeds` is how often it was retrained.

    `rank` is null where another recipe represents the ticket, by its validation accuracy; `recipe` is the end of its
    models' names, `recipe_settings` that recipe as JSON, and `epochs` how long they were trained. `audited` says that
    the ticket was drawn at random rather than promoted. `screening_seconds` and `image_gradients` are those of
    screening it, `retraining_seconds` and `retraining_image_gradients` (null where unknown) of all its retrainings by
    this recipe. Raises as `write_rounds`.
    """
    write_table(path, rows, LEADERBOARD)


def rounds_by_trial(rows: Sequence[Mapping[str, Any]]) -> dict[int, list[Round]]:
    """Return the rounds of each trial, in order, from rows of `rounds.parquet`."""
    found: dict[int, list[Round]] = {}
    for row in sorted(rows, key=lambda row: int(row["round"])):
        found.setdefault(row["trial"], []).append(Round.from_row(row))
    return found


def last_round(row: Mapping[str, Any]) -> Round:
    """Return the last round of a trial that had one, from its row of `trials.parquet`."""
    return Round.from_row({**row, "round": row["rounds"]})


def damaged_tables(run: RunDirectory) -> list[str]:
    """Return a sentence about each table of the run that is there and cannot be read."""
    sentences = []
    for path in (run.rounds, run.trials, run.leaderboard):
        if path.exists():
            try:
                read_sealed(path)
            except UserError as error:
                sentences.append(str(error))
    return sentences


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _inferred(values: Sequence[object]) -> pa.DataType:
    """Return the narrowest column type that holds the values; anything mixed but int with float is text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int}:
        return pa.int64()
    if kinds and kinds <= {int, float}:
        return pa.float64()
    return pa.string()
