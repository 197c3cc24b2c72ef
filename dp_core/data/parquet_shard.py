"""One Parquet shard of images and labels, as data sets on the Hugging Face hub are laid out.

An image column `img` or `image` is a struct with a field `bytes`, or plain binary; a column `label` holds integers.
Rows are counted from 0 within a file. Files are mapped, so that what is not compressed is not copied to be read.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dp_core.data.decoding import EncodedImage
from dp_core.data.source import Labels
from dp_core.errors import UserError, nearest

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMN = "label"
_BATCH = 256  # images that are in memory encoded and decoded at a time


def class_names_of(shard: Path) -> tuple[str, ...] | None:
    """Return the class names in the shard's metadata, None if it has none.

    Raises:
        UserError: the metadata or the shard itself cannot be read.
    """
    with _opened(shard) as file:
        text = (file.schema_arrow.metadata or {}).get(b"huggingface")
    if text is None:
        return None
    try:
        label = json.loads(text)["info"]["features"].get(LABEL_COLUMN, {})
        names = label.get("names")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{shard}: the 'huggingface' metadata is not of the known form ({error}).") from error
    return None if names is None else tuple(map(str, names))


def read_labels(shard: Path) -> Labels:
    """Return the labels of all rows, int64 [N], each ≥ 0.

    Raises:
        UserError: the file is not whole Parquet, the column is missing or not integers, or a label is null or negative.
    """
    with _opened(shard) as file:
        _check_columns(shard, file.schema_arrow)
        column = file.read(columns=[LABEL_COLUMN]).column(0)
        if not pa.types.is_integer(column.type):
            raise UserError(f"{shard}: column '{LABEL_COLUMN}' holds {column.type}, not integers.")
        if column.null_count:
            row = int(np.flatnonzero(pc.is_null(column).to_numpy())[0])
            raise UserError(f"{shard}, row {row}: the label is null.")
        labels: Labels = column.cast(pa.int64()).to_numpy()
    check_labels(shard, labels, labels < 0, "is negative, but labels count from 0")
    return labels


def check_labels(shard: Path, labels: Labels, wrong: npt.NDArray[np.bool_], reason: str) -> None:
    """Refuse the first of `labels`, those of all rows, that is `wrong` [N]."""
    rows = np.flatnonzero(wrong)
    if rows.size:
        raise UserError(f"{shard}, row {rows[0]}: label {labels[rows[0]]} {reason}.")


def read_shard(shard: Path) -> Iterator[list[EncodedImage]]:
    """Yield the encoded images of all rows in order, in batches, so that a shard is never in memory as a whole.

    Raises:
        UserError: the file is not whole Parquet, has no column of image bytes, or a row has no bytes.
    """
    with _opened(shard) as file:
        yield from _encoded_batches(shard, file, range(file.num_row_groups))


def read_row_group(shard: Path, group: int, kept: npt.NDArray[np.bool_]) -> Iterator[list[EncodedImage]]:
    """Yield, in batches like `read_shard`, the images of one row group; `kept` [rows] says which of its rows.

    Raises:
        UserError: see `read_shard`; or the row group no longer has as many rows as `kept`.
    """
    with _opened(shard) as file:
        sizes = _row_group_sizes(file)
        if group >= len(sizes) or sizes[group] != len(kept):
            raise UserError(f"{shard} was changed while it was being streamed.")
        row = 0
        for batch in _encoded_batches(shard, file, [group], first_row=sum(sizes[:group])):
            chosen = list(itertools.compress(batch, kept[row : row + len(batch)]))
            row += len(batch)
            if chosen:
                yield chosen


def row_group_sizes(shard: Path) -> tuple[int, ...]:
    """Return the number of rows of each row group.

    Raises:
        UserError: the file is not whole Parquet.
    """
    with _opened(shard) as file:
        return _row_group_sizes(file)


def _encoded_batches(
    shard: Path, file: pq.ParquetFile, groups: Sequence[int], first_row: int = 0
) -> Iterator[list[EncodedImage]]:
    """Yield the images of consecutive row groups; `first_row` is the row of the shard they begin with."""
    name, row = _check_columns(shard, file.schema_arrow), first_row
    for batch in file.iter_batches(batch_size=_BATCH, row_groups=groups, columns=[name]):
        contents = _contents(shard, batch.column(0))
        encoded = [_encoded(content, f"{shard}, row {number}") for number, content in enumerate(contents, start=row)]
        row += len(encoded)
        if encoded:
            yield encoded


def _row_group_sizes(file: pq.ParquetFile) -> tuple[int, ...]:
    return tuple(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))


def _check_columns(shard: Path, schema: pa.Schema) -> str:
    """Return the name of the image column once both columns are known to be there."""
    if LABEL_COLUMN not in schema.names:
        raise _missing(shard, f"'{LABEL_COLUMN}'", nearest(LABEL_COLUMN, schema.names), schema)
    for name in IMAGE_COLUMNS:
        if name in schema.names:
            return name
    others = [name for name in schema.names if name != LABEL_COLUMN]
    hint = next((hint for name in IMAGE_COLUMNS if (hint := nearest(name, others))), "")
    raise _missing(shard, " or ".join(f"'{name}'" for name in IMAGE_COLUMNS), hint, schema)


def _missing(shard: Path, wanted: str, hint: str, schema: pa.Schema) -> UserError:
    return UserError(f"{shard} has no column {wanted}; its columns are {', '.join(schema.names)}.{hint}")


def _contents(shard: Path, column: pa.Array) -> list[bytes | None]:
    if pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0:
        column = pc.struct_field(column, "bytes")
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        raise UserError(f"{shard}: the image column holds {column.type}, not bytes or a struct with a field 'bytes'.")
    contents: list[bytes | None] = column.to_pylist()
    return contents


def _encoded(content: bytes | None, place: str) -> EncodedImage:
    if content is None:
        raise UserError(f"{place}: there are no image bytes (paths to image files outside the shard are not followed).")
    return EncodedImage(content, place)


@contextmanager
def _opened(shard: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(shard, memory_map=True) as file:
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise UserError(f"{shard} cannot be read; it is truncated or not a Parquet file ({reason}).") from error
