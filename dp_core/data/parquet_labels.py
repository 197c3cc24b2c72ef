"""The labels in a Parquet shard: whole numbers from 0, or strings that name classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dp_core.data.parquet_shard import check_columns, check_labels, opened
from dp_core.data.reading import USUAL, Reading
from dp_core.data.source import Labels
from dp_core.errors import UserError, nearest

_LARGEST = np.iinfo(np.int64).max
_STRINGS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)


def read_labels(shard: Path, reading: Reading = USUAL, names: Sequence[str] | None = None) -> Labels:
    """Return the labels of all rows, int64 [N], each ≥ 0.

    Integers, truth values and floats that are whole count as they are, strings by their place in `names`.

    Raises:
        UserError: the file is not whole Parquet, a column is missing, or a label is null, negative, not whole, or a
            string that is not in `names`.
    """
    name, column = _column(shard, reading)
    if _holds_strings(column):
        return _places(shard, column, names or ())
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise UserError(
            f"{shard}: column '{name}' holds {column.type}, not whole numbers or strings "
            "(data.label names the column of the labels)."
        )
    values = column.to_numpy()
    if not np.issubdtype(values.dtype, np.integer):
        check_labels(shard, values, ~np.isfinite(values) | (values != np.floor(values)), "is no whole number")
    check_labels(shard, values, values > _LARGEST, "is too large")
    labels: Labels = values.astype(np.int64)
    check_labels(shard, labels, labels < 0, "is negative, but labels count from 0 (-1 often means: no label)")
    return labels


def check_same_type(shards: Sequence[Path], reading: Reading = USUAL) -> None:
    """Raise UserError if the labels of some of `shards` are strings, and those of others are not."""
    strings = [_holds_strings(_column(shard, reading)[1]) for shard in shards]
    for shard, own in zip(shards, strings, strict=True):
        if own != strings[0]:
            kinds = ("strings", "numbers") if own else ("numbers", "strings")
            raise UserError(f"{shard}: the labels are {kinds[0]}, but in {shards[0]} they are {kinds[1]}.")


def read_label_strings(shard: Path, reading: Reading = USUAL) -> set[str]:
    """Return the different labels of a shard whose labels are strings, none if they are of another type.

    Raises:
        UserError: see `read_labels`.
    """
    _, column = _column(shard, reading)
    return set(pc.unique(column).to_pylist()) if _holds_strings(column) else set()


def _column(shard: Path, reading: Reading) -> tuple[str, pa.ChunkedArray]:
    """Return the label column, of plain values without nulls, and its name."""
    with opened(shard) as file:
        _, name = check_columns(shard, file.schema_arrow, reading)
        column = file.read(columns=[name]).column(0)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if column.null_count:
            row = int(np.flatnonzero(pc.is_null(column).to_numpy())[0])
            raise UserError(f"{shard}, row {row}: the label is null.")
    return name, column


def _holds_strings(column: pa.ChunkedArray) -> bool:
    return any(is_string(column.type) for is_string in _STRINGS)


def _places(shard: Path, column: pa.ChunkedArray, names: Sequence[str]) -> Labels:
    places = {name: place for place, name in enumerate(names)}
    values = column.to_pylist()
    for row, value in enumerate(values):
        if value not in places:
            raise UserError(
                f"{shard}, row {row}: the label '{value}' is none of the {len(names)} classes.{nearest(value, names)}"
            )
    return np.array([places[value] for value in values], dtype=np.int64)
