"""Parquet tables with the columns of a schema: strict when they are written, sealed, and read whatever their age."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from dp_core.errors import UserError
from search.output.sealed_parquet import read_sealed, write_sealed


def schema_of(columns: Mapping[str, pa.DataType], always: Collection[str]) -> pa.Schema:
    """Return a schema of these columns; those of `always` have a value in every row, any other may be null."""
    return pa.schema([pa.field(name, kind, nullable=name not in always) for name, kind in columns.items()])


def write_table(path: Path, rows: Sequence[Mapping[str, object]], schema: pa.Schema) -> None:
    """Write the columns of `schema`, all of them or nothing; a nullable one that a row lacks is null in it.

    Raises:
        ValueError: a row has a column that the schema lacks, none where there must be one, or a value of another type.
        UserError: the disk is full.
    """
    known = set(schema.names)
    for number, row in enumerate(rows):
        if not row.keys() <= known:
            unknown = ", ".join(name for name in row if name not in known)
            raise ValueError(f"{path.name}, row {number}: unknown columns {unknown}")
    columns = [_column([row.get(field.name) for row in rows], field, path.name) for field in schema]
    write_sealed(path, pa.Table.from_arrays(columns, schema=schema))


def read_rows(path: Path, schema: pa.Schema | None = None) -> list[dict[str, Any]]:
    """Return the rows of a Parquet table; nullable columns of `schema` that it lacks, as older ones do, are None.

    Raises:
        UserError: the file is missing, not a whole table, damaged, or lacks a column that `schema` has in every row.
    """
    table = read_sealed(path)
    lacking = [field for field in schema or [] if field.name not in table.column_names]
    for field in lacking:
        if not field.nullable:
            raise UserError(f"{path}: this is not the table that belongs there: it has no column '{field.name}'.")
    return [{**dict.fromkeys(field.name for field in lacking), **row} for row in table.to_pylist()]


def _column(values: Sequence[object], field: pa.Field, table: str) -> pa.Array:
    try:
        column = pa.array(values, field.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise ValueError(f"{table}, column {field.name}: {error}") from error
    if column.null_count and not field.nullable:
        number = next(number for number, value in enumerate(values) if value is None)
        raise ValueError(f"{table}, row {number}: nothing in {field.name}")
    return column
