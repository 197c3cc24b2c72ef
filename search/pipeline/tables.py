"""The Parquet tables of a run directory: their columns, and how they are written and read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from dp_core.errors import UserError
from search.output.sealed_parquet import read_sealed, write_sealed
from search.runs.directory import RunDirectory

PARAMETER_PREFIX = "params."


def _field(name: str, kind: pa.DataType, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable)


_RUNG = [
    _field("rung", pa.int64()),
    _field("rung_round", pa.int64()),
    _field("fidelity", pa.string()),
    _field("rung_done", pa.bool_()),
]
_MEASURES = [
    _field("score", pa.float64()),
    _field("score_sem", pa.float64(), nullable=True),
    _field("proxy_accuracy", pa.float64()),
    _field("proxy_accuracy_sem", pa.float64(), nullable=True),
    _field("proxy_loss", pa.float64()),
    _field("replicates", pa.int64()),
    _field("sparsity", pa.float64()),
    _field("density", pa.float64()),
    _field("prunable_parameters", pa.int64(), nullable=True),
    _field("parameters", pa.int64(), nullable=True),
    _field("parameters_left", pa.int64()),
    _field("flops_dense", pa.int64()),
    _field("flops_remaining", pa.int64()),
    _field("latency_ms", pa.float64(), nullable=True),
    _field("steps", pa.int64(), nullable=True),
    _field("image_gradients", pa.int64()),
    _field("seconds", pa.float64()),
]
ROUNDS = pa.schema([_field("trial", pa.int64()), _field("round", pa.int64()), *_RUNG, *_MEASURES])
TRIALS = pa.schema(
    [
        _field("trial", pa.int64()),
        _field("state", pa.string()),
        _field("reason", pa.string(), nullable=True),
        _field("broken_constraints", pa.string(), nullable=True),
        _field("rounds", pa.int64()),
        *(field.with_nullable(True) for field in [*_RUNG, *_MEASURES]),
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
        _field("recipe", pa.string()),
        _field("recipe_settings", pa.string()),
        _field("epochs", pa.int64()),
        _field("test_accuracy", pa.float64()),
        _field("test_accuracy_std", pa.float64(), nullable=True),
        _field("seeds", pa.int64()),
        _field("validation_accuracy", pa.float64()),
        _field("proxy_accuracy", pa.float64()),
        _field("proxy_accuracy_sem", pa.float64(), nullable=True),
        _field("replicates", pa.int64()),
        _field("sparsity", pa.float64()),
        _field("prunable_parameters", pa.int64(), nullable=True),
        _field("parameters", pa.int64(), nullable=True),
        _field("parameters_left", pa.int64()),
        _field("flops_dense", pa.int64()),
        _field("flops_remaining", pa.int64()),
        _field("latency_ms", pa.float64(), nullable=True),
        _field("architecture", pa.string()),
        _field("source", pa.string()),
        _field("ipc", pa.int64(), nullable=True),
        _field("steps", pa.int64(), nullable=True),
        _field("screening_seconds", pa.float64()),
        _field("image_gradients", pa.int64()),
        _field("retraining_seconds", pa.float64()),
        _field("retraining_image_gradients", pa.int64(), nullable=True),
    ]
)


def write_rounds(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write `rounds.parquet`: one row per trial and round.

    `rung` counts from 0 and is 0 where there is no ladder, `rung_round` from 1 within the rung; `fidelity` is what the
    rung looks with, such as `distilled-10`. Accuracies, sparsity and density are fractions in [0, 1]; sparsity is that
    of the `prunable_parameters` among all `parameters`, null in runs that did not count them; `latency_ms` is in
    milliseconds, null where nobody asked for it; `steps` are those of the optimiser in this round, null in runs that
    did not tell them; `image_gradients` and `seconds` are cumulative over the trial's
    rounds and count all of its replicates. Score, proxy accuracy and loss are means over the replicates; `score_sem`
    and `proxy_accuracy_sem` are the standard errors of two of these means, null for a single replicate.

    Raises:
        ValueError: an unknown, missing, null or mistyped column.
        UserError: the disk is full.
    """
    _write(path, rows, ROUNDS)


def write_trials(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write `trials.parquet`: one row per trial, with its last round's measures (null before the first round).

    `state` is COMPLETE, PRUNED, FAIL, RUNNING, WAITING or, for a proposal that was never trained, REJECTED (it broke a
    constraint) or REPEATED (`reason` names the trial that has its candidate). `broken_constraints` names the
    constraints that a trial breaks, separated by commas. Every further key must be `params.<dotted name>`; rows need
    not share these, since a conditional parameter exists in some trials only. Raises as `write_rounds`.
    """
    names = sorted({name for row in rows for name in row if name.startswith(PARAMETER_PREFIX)})
    parameters = {name: [row.get(name) for row in rows] for name in names}
    fixed = [{name: value for name, value in row.items() if name not in parameters} for row in rows]
    _write(path, fixed, TRIALS, parameters)


def write_leaderboard(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write `leaderboard.parquet`: one row per retrained ticket and recipe; `seeds` is how often it was retrained.

    `rank` is null where another recipe represents the ticket, by its validation accuracy; `recipe` is the end of its
    models' names, `recipe_settings` that recipe as JSON, and `epochs` how long they were trained. `audited` says that
    the ticket was drawn at random rather than promoted. `screening_seconds` and `image_gradients` are those of
    screening it, `retraining_seconds` and `retraining_image_gradients` (null where unknown) of all its retrainings by
    this recipe. Raises as `write_rounds`.
    """
    _write(path, rows, LEADERBOARD)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a Parquet table; raises UserError if the file is missing, not a whole table, or damaged."""
    rows: list[dict[str, Any]] = read_sealed(path).to_pylist()
    return rows


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


def _write(
    path: Path,
    rows: Sequence[Mapping[str, object]],
    schema: pa.Schema,
    parameters: Mapping[str, Sequence[object]] | None = None,
) -> None:
    _check(rows, schema, path.name)
    columns = [_column([row[field.name] for row in rows], field, path.name) for field in schema]
    for name, values in (parameters or {}).items():
        kind = _inferred(values)
        schema = schema.append(pa.field(name, kind))
        columns.append(pa.array([_stored(value, kind) for value in values], kind))
    write_sealed(path, pa.Table.from_arrays(columns, schema=schema))


def _check(rows: Sequence[Mapping[str, object]], schema: pa.Schema, table: str) -> None:
    expected = set(schema.names)
    for number, row in enumerate(rows):
        if row.keys() != expected:
            missing = [name for name in schema.names if name not in row]
            unknown = [name for name in row if name not in expected]
            what, names = ("missing", missing) if missing else ("unknown", unknown)
            raise ValueError(f"{table}, row {number}: {what} columns {', '.join(names)}")


def _column(values: Sequence[object], field: pa.Field, table: str) -> pa.Array:
    try:
        column = pa.array(values, field.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise ValueError(f"{table}, column {field.name}: {error}") from error
    if column.null_count and not field.nullable:
        number = next(number for number, value in enumerate(values) if value is None)
        raise ValueError(f"{table}, row {number}: null in {field.name}")
    return column


def _stored(value: object, kind: pa.DataType) -> object:
    return str(value) if value is not None and kind == pa.string() else value


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
