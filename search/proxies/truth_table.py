"""A user's table of architectures and the accuracies that training gave them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from dp_core.errors import UserError, nearest
from dp_core.files import digest_of_file
from search.output.wording import show

FEWEST = 10
"""Architectures; a correlation of fewer has an interval that is nearly all of [-1, 1]."""
_SUFFIXES = (".parquet", ".csv")
_SHOWN = 3  # rows that a sentence lists before it only counts them


@dataclass(frozen=True)
class TruthTable:
    """What training made of architectures.

    Args:
        names: the architectures, all different, in the order of the file.
        accuracies: of each, a fraction in [0, 1].
        digest: SHA-256 of the file.
    """

    names: tuple[str, ...]
    accuracies: tuple[float, ...]
    digest: str


def read_truth_table(
    path: Path,
    architecture: str = "arch_str",
    accuracy: str = "accuracy",
    known: Collection[str] | None = None,
) -> TruthTable:
    """Read a table with a row for each architecture, from a Parquet file or a CSV file with a header.

    Accuracies are fractions or per cent: if one is above 1, all are per cent, and are divided by 100. Other columns are
    not read.

    Args:
        path: its suffix, `.parquet` or `.csv`, says what it is.
        architecture: the column of architectures.
        accuracy: the column of accuracies, numbers of any type or, in either kind of file, numerals.
        known: the architectures that there may be; None for any.

    Raises:
        UserError: the file cannot be read, lacks a column or has fewer than 10 rows; an architecture is missing, not
            known or repeated; an accuracy is missing, no number or out of range; or all accuracies are the same. Rows
            are counted from 1, without the header.
    """
    table = _read(path, (architecture, accuracy))
    if table.num_rows < FEWEST:
        raise UserError(
            f"{path} has {table.num_rows} rows, and at least {FEWEST} are needed: no correlation is given without its "
            "interval."
        )
    names = _architectures(path, architecture, table.column(architecture).to_pylist(), known)
    accuracies = _accuracies(path, accuracy, table.column(accuracy).to_pylist())
    return TruthTable(names, accuracies, digest_of_file(path))


def refuse_changed(path: Path | None, digest: str | None, run: Path) -> None:
    """See that a run's table, if it has one, is still the one of this digest.

    Raises:
        UserError: it is not, or there is none.
    """
    if path is None:
        return
    _check_there(path)
    if digest_of_file(path) != digest:
        raise UserError(f"The truth table of the run {run} has changed since it started: {path}.")


def _read(path: Path, columns: tuple[str, str]) -> pa.Table:
    _check_there(path)
    try:
        return (_read_parquet if path.suffix.lower() == ".parquet" else _read_csv)(path, columns)
    except (OSError, pa.ArrowException, ValueError) as error:
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"The table {path} cannot be read: {first_line.rstrip('.')}.") from error


def _check_there(path: Path) -> None:
    if path.suffix.lower() not in _SUFFIXES:
        raise UserError(f"{path} is neither a .parquet nor a .csv file, and so no table that could be read.")
    if not path.is_file():
        beside = [file.name for file in path.parent.glob("*") if file.suffix.lower() in _SUFFIXES]
        raise UserError(f"The table {path} does not exist.{nearest(path.name, beside)}")


def _read_parquet(path: Path, columns: tuple[str, str]) -> pa.Table:
    with pq.ParquetFile(path) as file:
        _check_columns(path, file.schema_arrow.names, columns)
        return file.read(columns=list(dict.fromkeys(columns)))


def _read_csv(path: Path, columns: tuple[str, str]) -> pa.Table:
    # As text: a column that is not all numbers would come as text in any case, and here each row is told apart.
    with pyarrow.csv.open_csv(path) as file:
        header = file.schema.names
    _check_columns(path, header, columns)
    options = pyarrow.csv.ConvertOptions(
        include_columns=list(dict.fromkeys(columns)), column_types=dict.fromkeys(columns, pa.string())
    )
    return pyarrow.csv.read_csv(path, convert_options=options)


def _check_columns(path: Path, found: Sequence[str], columns: tuple[str, str]) -> None:
    for column in columns:
        if column not in found:
            raise UserError(f"{path} has no column '{column}'.{nearest(column, found)} It has: {', '.join(found)}.")
        if found.count(column) > 1:
            raise UserError(f"{path} has {found.count(column)} columns called '{column}'.")


def _architectures(path: Path, column: str, values: Sequence[Any], known: Collection[str] | None) -> tuple[str, ...]:
    names = ["" if value is None else str(value).strip() for value in values]
    missing = [row for row, name in enumerate(names, start=1) if not name]
    if missing:
        raise UserError(f"{path}, {_rows(missing)}: there is no architecture in column '{column}'.")
    if known is not None:
        every = frozenset(known)
        unknown = [row for row, name in enumerate(names, start=1) if name not in every]
        if unknown:
            word = names[unknown[0] - 1]
            raise UserError(f"{path}, {_rows(unknown)}: the space has no architecture '{word}'.{nearest(word, known)}")
    counts = Counter(names)
    if len(counts) < len(names):
        name, count = counts.most_common(1)[0]
        repeated = [row for row, other in enumerate(names, start=1) if counts[other] > 1]
        raise UserError(f"{path}, {_rows(repeated)}: architectures are repeated, such as '{name}', {count} times.")
    return tuple(names)


def _accuracies(path: Path, column: str, values: Sequence[Any]) -> tuple[float, ...]:
    numbers = [_number(value) for value in values]
    _refuse(path, column, values, [number is not None and math.isnan(number) for number in numbers], "an accuracy")
    _refuse(path, column, values, [number is None for number in numbers], "a number")
    wrong = [number is not None and not 0 <= number <= 100 for number in numbers]
    _refuse(path, column, values, wrong, "a fraction or per cent")
    found = [number for number in numbers if number is not None]
    if len(set(found)) == 1:
        raise UserError(f"{path}: all accuracies in column '{column}' are {found[0]:g}, so that there is no ranking.")
    scale = 100 if max(found) > 1 else 1  # the best of a table in per cent is above 1 % by far
    return tuple(number / scale for number in found)


def _refuse(path: Path, column: str, values: Sequence[Any], wrong: Sequence[bool], wanted: str) -> None:
    rows = [row for row, is_wrong in enumerate(wrong, start=1) if is_wrong]
    if rows:
        raise UserError(
            f"{path}, {_rows(rows)}: column '{column}' holds {show(values[rows[0] - 1])} instead of {wanted}."
        )


def _number(value: Any) -> float | None:
    """Return the value as a number, NaN if it is missing and None if it is none."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return math.nan
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _rows(rows: Sequence[int]) -> str:
    """Return `row 3`, or `rows 3, 5, 8 and 4 more`."""
    listed = ", ".join(map(str, rows[:_SHOWN]))
    more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    return f"row{'s' if len(rows) > 1 else ''} {listed}{more}"
