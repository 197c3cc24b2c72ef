from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp_core.errors import UserError
from search.proxies.truth_table import TruthTable, read_truth_table

NAMES = [f"net {index}" for index in range(12)]
FRACTIONS = [0.5 + index / 64 for index in range(12)]  # exact in binary

Write = Callable[..., Path]


def parquet(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


@pytest.fixture(params=["parquet", "csv"])
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Write:
    """Return a function that writes columns to a table of either kind, in which a CSV file leaves None empty."""

    def table(**columns: Sequence[Any]) -> Path:
        path = tmp_path / f"truth.{request.param}"
        if request.param == "parquet":
            return parquet(path, **columns)
        rows = zip(*columns.values(), strict=True)
        lines = [",".join("" if value is None else str(value) for value in row) for row in rows]
        path.write_text("\n".join([",".join(columns), *lines]) + "\n")
        return path

    return table


def changed(values: Sequence[Any], **at: Any) -> list[Any]:
    """Return the values with those in rows such as r3, counted from 1, replaced."""
    replaced = list(values)
    for row, value in at.items():
        replaced[int(row[1:]) - 1] = value
    return replaced


def test_fractions_are_read_as_they_are(write: Write) -> None:
    path = write(index=list(range(12)), arch_str=NAMES, accuracy=FRACTIONS)
    table = read_truth_table(path, known=NAMES)
    assert table == TruthTable(tuple(NAMES), tuple(FRACTIONS), hashlib.sha256(path.read_bytes()).hexdigest())


def test_per_cent_become_fractions(write: Write) -> None:
    path = write(name=NAMES, top1=[100 * value for value in FRACTIONS])
    assert read_truth_table(path, "name", "top1").accuracies == tuple(FRACTIONS)


def test_whole_per_cent_become_fractions(write: Write) -> None:
    path = write(arch_str=NAMES, accuracy=list(range(1, 13)))
    assert read_truth_table(path).accuracies == pytest.approx([number / 100 for number in range(1, 13)])


@given(st.lists(st.floats(0, 1), min_size=10, max_size=20, unique=True).filter(lambda values: max(values) > 0.011))
def test_the_scale_does_not_matter_to_the_order(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    path = tmp_path_factory.mktemp("tables") / "truth.parquet"
    names = [str(index) for index in range(len(values))]
    read = read_truth_table(parquet(path, arch_str=names, accuracy=[100 * value for value in values])).accuracies
    assert read == pytest.approx(values, rel=1e-12)
    assert read_truth_table(parquet(path, arch_str=names, accuracy=values)).accuracies == tuple(values)


@pytest.mark.parametrize(
    "column",
    [
        pa.array(FRACTIONS, pa.float32()),
        pa.array([Decimal(str(value)) for value in FRACTIONS]),
        pa.array([str(value) for value in FRACTIONS]),
    ],
)
def test_numbers_of_any_type_are_read(column: pa.Array, tmp_path: Path) -> None:
    path = parquet(tmp_path / "truth.parquet", arch_str=pa.array(NAMES).dictionary_encode(), accuracy=column)
    assert read_truth_table(path).accuracies == tuple(FRACTIONS)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"accuracy": changed(FRACTIONS, r3=None)}, "row 3: column 'accuracy' holds (null|'') instead of an accuracy"),
        ({"accuracy": changed(FRACTIONS, r3=float("nan"), r12=None)}, "rows 3, 12: .* holds '?nan'? instead of an acc"),
        (
            {"accuracy": changed(FRACTIONS, r1=-0.1)},
            "row 1: column 'accuracy' holds '?-0.1'? instead of a fraction or per",
        ),
        ({"accuracy": changed(FRACTIONS, r2=100.5)}, "row 2: .* holds '?100.5'? instead of a fraction or per cent"),
        (
            {"accuracy": changed(FRACTIONS, r2=float("inf"))},
            "row 2: .* holds '?inf'? instead of a fraction or per cent",
        ),
        ({"accuracy": [0.5] * 12}, "all accuracies in column 'accuracy' are 0.5, so that there is no ranking"),
        ({"arch_str": changed(NAMES, r5="")}, "row 5: there is no architecture in column 'arch_str'"),
        ({"arch_str": changed(NAMES, r5=None)}, "row 5: there is no architecture in column 'arch_str'"),
        (
            {"arch_str": changed(NAMES, r2="net 12", r4="nett 3", r6="x", r7="y", r9="z")},
            r"rows 2, 4, 6 and 2 more: the space has no architecture 'net 12'\. Did you mean 'net ..?'\?$",
        ),
        (
            {"arch_str": changed(NAMES, r4="net 0", r9="net 1", r11="net 1")},
            "rows 1, 2, 4 and 2 more: architectures are repeated, such as 'net 1', 3 times",
        ),
    ],
)
def test_rows_that_cannot_be_used_are_named(columns: dict[str, Any], message: str, write: Write) -> None:
    path = write(**{"arch_str": NAMES, "accuracy": FRACTIONS, **columns})
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}[,:] {message}"):
        read_truth_table(path, known=NAMES)


def test_text_instead_of_accuracies_is_refused(write: Write) -> None:
    path = write(arch_str=NAMES, accuracy=changed([str(value) for value in FRACTIONS], r7="failed", r8="n/a"))
    with pytest.raises(UserError, match="rows 7, 8: column 'accuracy' holds 'failed' instead of a number"):
        read_truth_table(path)


def test_truth_values_are_no_accuracies(write: Write) -> None:
    path = write(arch_str=NAMES, accuracy=[index % 2 == 0 for index in range(12)])
    with pytest.raises(UserError, match=r"rows 1, 2, 3 and 9 more: .* holds .* instead of a number"):
        read_truth_table(path)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("arch_str", "acuracy"), r"has no column 'acuracy'\. Did you mean 'accuracy'\? It has: arch_str, accuracy\.$"),
        (("name", "accuracy"), r"has no column 'name'\. It has: arch_str, accuracy\.$"),
    ],
)
def test_a_missing_column_is_named_with_those_there_are(asked: tuple[str, str], message: str, write: Write) -> None:
    path = write(arch_str=NAMES, accuracy=FRACTIONS)
    with pytest.raises(UserError, match=message):
        read_truth_table(path, *asked)


@pytest.mark.parametrize("rows", [0, 9])
def test_fewer_than_ten_rows_are_no_table(rows: int, write: Write) -> None:
    path = write(arch_str=pa.array(NAMES[:rows], pa.string()), accuracy=pa.array(FRACTIONS[:rows], pa.float64()))
    with pytest.raises(UserError, match=rf"has {rows} rows, and at least 10 are needed: no correlation .* interval\.$"):
        read_truth_table(path)
    path = write(arch_str=NAMES[:10], accuracy=FRACTIONS[:10])
    assert len(read_truth_table(path).names) == 10


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_text("\n".join(["arch_str,accuracy,accuracy", *(f"{name},0.5,0.6" for name in NAMES)]))
    with pytest.raises(UserError, match="has 2 columns called 'accuracy'"):
        read_truth_table(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("truth.parquet", b"no parquet at all", r"^The table .*truth\.parquet cannot be read: "),
        ("truth.csv", b"", r"^The table .*truth\.csv cannot be read: Empty CSV file"),
        ("truth.csv", b"arch_str,accuracy\na,0.5,1\n", r"cannot be read: .*Expected 2 columns, got 3"),
        ("truth.csv", b"arch_str,accuracy\n\xff\xfe\x80,0.5\n", r"cannot be read: .*UTF8"),
        ("truth.xlsx", b"PK", r"truth\.xlsx is neither a \.parquet nor a \.csv file"),
    ],
)
def test_a_file_that_is_no_table_is_refused(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_truth_table(path)


def test_a_file_that_is_not_there_is_told_from_one_beside_it(tmp_path: Path) -> None:
    parquet(tmp_path / "truth.parquet", arch_str=NAMES, accuracy=FRACTIONS)
    with pytest.raises(UserError, match=r"thruth\.parquet does not exist\. Did you mean 'truth\.parquet'\?"):
        read_truth_table(tmp_path / "thruth.parquet")
