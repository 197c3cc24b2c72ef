from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dp_core.errors import UserError
from search.comparison.tables import RESULTS
from search.output.tables import read_rows, schema_of, write_table
from search.proxies.tables import SCORES, TRUTHS

SCHEMA = schema_of(
    {
        "name": pa.string(),
        "count": pa.int64(),
        "share": pa.float64(),
        "curve": pa.list_(pa.float64()),
        "layers": pa.list_(pa.struct({"name": pa.string(), "density": pa.float64()})),
    },
    always=("name", "count"),
)
ROW: dict[str, Any] = {
    "name": "imp",
    "count": 10**12,
    "share": 0.25,
    "curve": [0.5, 0.25],
    "layers": [{"name": "conv", "density": 0.1}, {"name": "linear", "density": 0.9}],
}
NOTHING = {"share": None, "curve": None, "layers": None}


def test_reads_back_what_was_written_and_what_a_row_lacks_is_none(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", [ROW, {"name": "snip", "count": 0}], SCHEMA)
    rows = [ROW, {"name": "snip", "count": 0, **NOTHING}]
    assert read_rows(tmp_path / "t.parquet") == rows
    assert read_rows(tmp_path / "t.parquet", SCHEMA) == rows
    assert pq.read_table(tmp_path / "t.parquet").to_pylist() == rows  # as any other reader does


def test_an_empty_table_has_its_columns(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", [], SCHEMA)
    assert pq.read_schema(tmp_path / "t.parquet").names == list(ROW)
    assert read_rows(tmp_path / "t.parquet", SCHEMA) == []


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({**ROW, "shere": 0.5, "colour": 1}, "row 1: unknown columns shere, colour"),
        ({"name": "imp"}, "row 1: nothing in count"),
        ({**ROW, "name": None}, "row 1: nothing in name"),
        ({**ROW, "count": "many"}, "column count: "),
        ({**ROW, "count": 2**63}, "column count: "),
        ({**ROW, "curve": [0.5, "up"]}, "column curve: "),
    ],
)
def test_a_row_that_does_not_fit_is_refused_and_the_old_table_stays(
    row: dict[str, Any], told: str, tmp_path: Path
) -> None:
    write_table(tmp_path / "t.parquet", [ROW], SCHEMA)
    with pytest.raises(ValueError, match=rf"t\.parquet, {told}"):
        write_table(tmp_path / "t.parquet", [ROW, row], SCHEMA)
    assert read_rows(tmp_path / "t.parquet") == [ROW]
    assert [file.name for file in tmp_path.iterdir()] == ["t.parquet"]


def test_an_older_table_lacks_a_column_and_another_table_is_refused(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"name": ["imp"], "count": [3], "share": [0.5], "long gone": [1]}), tmp_path / "old.parquet"
    )
    assert read_rows(tmp_path / "old.parquet", SCHEMA) == [
        {**NOTHING, "name": "imp", "count": 3, "share": 0.5, "long gone": 1}
    ]
    pq.write_table(pa.table({"name": ["imp"]}), tmp_path / "other.parquet")
    with pytest.raises(UserError, match=r"other\.parquet: this is not the table .*: it has no column 'count'"):
        read_rows(tmp_path / "other.parquet", SCHEMA)


@pytest.mark.parametrize(
    ("path", "schema"),
    [("frontier/results", RESULTS), ("proxies/convnet720/scores", SCORES), ("proxies/convnet720/truth", TRUTHS)],
)
def test_tables_of_earlier_versions_are_read(path: str, schema: pa.Schema) -> None:
    rows = read_rows(Path(f"benchmarks/results/{path}.parquet"), schema)
    assert rows
    assert all(row.keys() == set(schema.names) for row in rows)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shares=st.lists(st.floats(allow_nan=False)), count=st.integers(0, 2**63 - 1))
def test_numbers_survive_exactly(shares: list[float], count: int, tmp_path: Path) -> None:
    rows = [{**ROW, "share": share, "count": count} for share in shares]
    write_table(tmp_path / "t.parquet", rows, SCHEMA)
    assert read_rows(tmp_path / "t.parquet") == rows


def test_an_infinity_and_a_nan_are_kept(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", [{**ROW, "share": math.inf}, {**ROW, "share": math.nan}], SCHEMA)
    infinite, undefined = (row["share"] for row in read_rows(tmp_path / "t.parquet"))
    assert infinite == math.inf
    assert math.isnan(undefined)


@pytest.mark.parametrize("kept", [0, 3, 200, -5])
def test_a_truncated_table_is_the_users_mistake(kept: int, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(path, [ROW], SCHEMA)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"t\.parquet: this is not a readable Parquet table") as error:
        read_rows(path)
    assert "\n" not in str(error.value)


def test_a_missing_table_and_a_directory_are_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"t\.parquet: there is no such table"):
        read_rows(tmp_path / "t.parquet")
    with pytest.raises(UserError):
        read_rows(tmp_path)
