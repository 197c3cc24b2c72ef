from __future__ import annotations

import errno
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dp_core.errors import UserError
from search.output.sealed_parquet import read_sealed, write_sealed


def table() -> pa.Table:
    rows = [{"n": n, "text": f"row {n}", "share": 0.1 * n, "even": n % 2 == 0, "maybe": None} for n in range(4)]
    schema = pa.schema(
        [
            pa.field("n", pa.int64(), nullable=False),
            pa.field("text", pa.string()),
            pa.field("share", pa.float64(), nullable=False),
            pa.field("even", pa.bool_()),
            pa.field("maybe", pa.float64()),
        ]
    )
    return pa.Table.from_pylist(rows, schema=schema)


def test_any_reader_opens_it(tmp_path: Path) -> None:
    write_sealed(tmp_path / "t.parquet", table())
    assert pq.read_table(tmp_path / "t.parquet").equals(table())
    assert read_sealed(tmp_path / "t.parquet").equals(table())


def test_a_table_that_nobody_sealed_is_read(tmp_path: Path) -> None:
    pq.write_table(table(), tmp_path / "t.parquet")
    assert read_sealed(tmp_path / "t.parquet").equals(table())


def test_no_flipped_bit_changes_what_is_read(tmp_path: Path) -> None:
    """A bit of every byte in turn: the table is refused, or the bit was one that no row depends on."""
    path = tmp_path / "t.parquet"
    write_sealed(path, table())
    content = path.read_bytes()
    expected = table()
    refused = 0
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            assert read_sealed(path).equals(expected)
        except UserError:
            refused += 1
    assert refused > len(content) / 2


def test_a_full_disk_is_told_and_the_old_table_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.parquet"
    write_sealed(path, table())

    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(UserError, match=r"no room left on the disk for .*t\.parquet"):
        write_sealed(path, table().slice(0, 1))
    assert read_sealed(path).equals(table())
    assert [file.name for file in tmp_path.iterdir()] == ["t.parquet"]
