"""Parquet tables whose columns all have a type and may all be null: what is not known of a row is left out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dp_core.errors import UserError
from dp_core.files import replacing
from search.pipeline.tables import read_rows


def write_typed(rows: Sequence[Mapping[str, Any]], path: Path, schema: pa.Schema) -> None:
    """Write the columns of `schema`; those that a row lacks are null in it.

    Raises:
        ValueError: a column is unknown, or a value does not fit its column.
    """
    unknown = sorted({name for row in rows for name in row} - set(schema.names))
    if unknown:
        raise ValueError(f"{path.name}: unknown columns {', '.join(unknown)}")
    columns = []
    for field in schema:
        try:
            columns.append(pa.array([row.get(field.name) for row in rows], field.type))
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            raise ValueError(f"{path.name}, column {field.name}: {error}") from error
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_arrays(columns, schema=schema), temporary)


def read_typed(path: Path, schema: pa.Schema, command: str, *, later: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return the rows that `write_typed` wrote; columns of `later`, which older tables lack, are None in these.

    Raises:
        UserError: the file is missing, is no Parquet file, or lacks a column that `command`, such as "winnow prune",
            would have written.
    """
    rows = read_rows(path)
    missing = [name for name in schema.names if rows and name not in rows[0] and name not in later]
    if missing:
        raise UserError(f"{path}: this is no such table of {command}: it has no column '{missing[0]}'.")
    return [{**dict.fromkeys(later), **row} for row in rows]
