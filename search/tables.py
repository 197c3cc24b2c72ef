"""The Parquet tables of a run directory, and the leaderboard as the terminal shows it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich import box
from rich.table import Table
from rich.text import Text

from dp_core.errors import UserError
from dp_core.files import replacing

PARAMETER_PREFIX = "params."


def _field(name: str, kind: pa.DataType, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable)


_MEASURES = [
    _field("score", pa.float64()),
    _field("score_sem", pa.float64(), nullable=True),
    _field("proxy_accuracy", pa.float64()),
    _field("proxy_accuracy_sem", pa.float64(), nullable=True),
    _field("proxy_loss", pa.float64()),
    _field("replicates", pa.int64()),
    _field("sparsity", pa.float64()),
    _field("density", pa.float64()),
    _field("parameters_left", pa.int64()),
    _field("flops_dense", pa.int64()),
    _field("flops_remaining", pa.int64()),
    _field("image_gradients", pa.int64()),
    _field("seconds", pa.float64()),
]
ROUNDS = pa.schema([_field("trial", pa.int64()), _field("round", pa.int64()), *_MEASURES])
TRIALS = pa.schema(
    [
        _field("trial", pa.int64()),
        _field("state", pa.string()),
        _field("reason", pa.string(), nullable=True),
        _field("rounds", pa.int64()),
        *(field.with_nullable(True) for field in _MEASURES),
        _field("source", pa.string()),
        _field("ipc", pa.int64(), nullable=True),
        _field("architecture", pa.string()),
    ]
)
LEADERBOARD = pa.schema(
    [
        _field("rank", pa.int64()),
        _field("trial", pa.int64()),
        _field("test_accuracy", pa.float64()),
        _field("test_accuracy_std", pa.float64(), nullable=True),
        _field("seeds", pa.int64()),
        _field("validation_accuracy", pa.float64()),
        _field("proxy_accuracy", pa.float64()),
        _field("proxy_accuracy_sem", pa.float64(), nullable=True),
        _field("replicates", pa.int64()),
        _field("sparsity", pa.float64()),
        _field("parameters_left", pa.int64()),
        _field("flops_remaining", pa.int64()),
        _field("architecture", pa.string()),
        _field("source", pa.string()),
        _field("ipc", pa.int64(), nullable=True),
        _field("screening_seconds", pa.float64()),
        _field("retraining_seconds", pa.float64()),
    ]
)


def write_rounds(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write `rounds.parquet`: one row per trial and round.

    Accuracies, sparsity and density are fractions in [0, 1]; `image_gradients` and `seconds` are cumulative over the
    trial's rounds and count all of its replicates. Score, proxy accuracy and loss are means over the replicates;
    `score_sem` and `proxy_accuracy_sem` are the standard errors of two of these means, null for a single replicate.
    Raises ValueError for an unknown, missing, null or mistyped column.
    """
    _write(path, rows, ROUNDS)


def write_trials(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write `trials.parquet`: one row per trial, with its last round's measures (null before the first round).

    `state` is COMPLETE, PRUNED, FAIL, RUNNING or WAITING. Every further key must be `params.<dotted name>`; rows need
    not share these, since a conditional parameter exists in some trials only. Raises ValueError as `write_rounds`.
    """
    names = sorted({name for row in rows for name in row if name.startswith(PARAMETER_PREFIX)})
    schema = TRIALS
    for name in names:
        schema = schema.append(pa.field(name, _inferred([row.get(name) for row in rows])))
    _write(path, [_with_parameters(row, schema) for row in rows], schema)


def write_leaderboard(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write `leaderboard.parquet`: one row per retrained model; `seeds` is how many times it was retrained.

    Raises ValueError as `write_rounds`.
    """
    _write(path, rows, LEADERBOARD)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a Parquet table; raises UserError if the file is missing or is not a whole Parquet file."""
    try:
        with pq.ParquetFile(path) as file:
            rows: list[dict[str, Any]] = file.read().to_pylist()
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such table.") from None
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(f"{path}: this is not a readable Parquet table ({reason}).") from error
    return rows


def leaderboard_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return the leaderboard for the terminal; in 90 columns or more, only names are folded, never a figure."""
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
    return table


def _figures(row: Mapping[str, Any]) -> dict[str, str]:
    deviation = row["test_accuracy_std"] if row["seeds"] > 1 else None
    return {
        "Rank": str(row["rank"]),
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


def _write(path: Path, rows: Sequence[Mapping[str, object]], schema: pa.Schema) -> None:
    for number, row in enumerate(rows):
        _check(row, schema, f"{path.name}, row {number}")
    columns = [_column([row[field.name] for row in rows], field, path.name) for field in schema]
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_arrays(columns, schema=schema), temporary)


def _check(row: Mapping[str, object], schema: pa.Schema, where: str) -> None:
    missing = [name for name in schema.names if name not in row]
    unknown = [name for name in row if name not in schema.names]
    null = [field.name for field in schema if not field.nullable and row.get(field.name) is None]
    for what, names in (("missing columns", missing), ("unknown columns", unknown), ("null in", null)):
        if names:
            raise ValueError(f"{where}: {what} {', '.join(names)}")


def _column(values: Sequence[object], field: pa.Field, table: str) -> pa.Array:
    try:
        return pa.array(values, field.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise ValueError(f"{table}, column {field.name}: {error}") from error


def _with_parameters(row: Mapping[str, object], schema: pa.Schema) -> dict[str, object]:
    parameters = {field.name: row.get(field.name) for field in schema if field.name.startswith(PARAMETER_PREFIX)}
    texts = {
        name: str(value)
        for name, value in parameters.items()
        if value is not None and schema.field(name).type == pa.string()
    }
    return {**row, **parameters, **texts}


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
