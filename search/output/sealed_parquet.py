"""Parquet files in which a flipped bit is found: checksums in their pages, and a seal over what pages do not hold."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dp_core.errors import UserError
from dp_core.files import replacing, room_for

_SEAL = b"winnow.seal"


def write_sealed(path: Path, table: pa.Table) -> None:
    """Write a table, all of it or nothing; any Parquet reader opens it.

    It has no statistics: they have no checksum, and readers that filter by them would take a flipped bit for true.

    Raises:
        UserError: the disk is full.
    """
    sealed = table.replace_schema_metadata({_SEAL: _seal(table)})
    with room_for(path), replacing(path) as temporary:
        pq.write_table(sealed, temporary, write_page_checksum=True, write_statistics=False)


def read_sealed(path: Path) -> pa.Table:
    """Return a table that `write_sealed`, or anyone else, wrote.

    Raises:
        UserError: the file is missing, is not a whole Parquet file, or is not what `write_sealed` once wrote.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read()
            seal = (file.schema_arrow.metadata or {}).get(_SEAL)
            names = table.column_names
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such table.") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(f"{path}: this is not a readable Parquet table ({reason}).") from error
    if seal is not None and seal != _seal(table):
        raise UserError(f"{path}: this is not a readable Parquet table (its columns {names} are not those written).")
    return table


def _seal(table: pa.Table) -> bytes:
    """Return a digest of the names, types and number of rows: the file's footer, which has them, has no checksum."""
    # Arrow calls what a list holds "item", Parquet "element": it comes back under the other name.
    columns = [
        [field.name, str(field.type).replace("list<item: ", "list<element: "), field.nullable] for field in table.schema
    ]
    return sha256(json.dumps([table.num_rows, columns]).encode()).hexdigest().encode()
