"""One Parquet shard of images and labels, as data sets on the Hugging Face hub are laid out.

An image column (`img` or `image`, unless another is named) is a struct with a field `bytes`, or plain binary. Rows are
counted from 0 within a file. Files are mapped, so that what is not compressed is not copied to be read.
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
from dp_core.data.reading import USUAL, Reading
from dp_core.data.source import Labels
from dp_core.errors import UserError, nearest

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMN = "label"
# What may hold images; of type null is a column no row of which has any, as where paths are given instead.
_BYTES = (
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
    pa.types.is_fixed_size_binary,
    pa.types.is_null,
)
_BATCH = 256  # images that are in memory encoded and decoded at a time


def unusual_columns(shard: Path, reading: Reading) -> dict[str, str]:
    """Return the columns that `reading` names, by role, and that would not be taken if it did not.

    Raises:
        UserError: the shard cannot be read.
    """
    named = {role: name for role, name in (("image", reading.image), ("label", reading.label)) if name is not None}
    if not named:
        return {}
    with opened(shard) as file:
        there = file.schema_arrow.names
    usual = {"image": next((name for name in IMAGE_COLUMNS if name in there), None), "label": LABEL_COLUMN}
    return {role: name for role, name in named.items() if name != usual[role]}


def class_names_of(shard: Path, reading: Reading = USUAL) -> tuple[str, ...] | None:
    """Return the class names in the shard's metadata, None if it has none.

    Raises:
        UserError: the metadata or the shard itself cannot be read.
    """
    with opened(shard) as file:
        text = (file.schema_arrow.metadata or {}).get(b"huggingface")
    if text is None:
        return None
    try:
        label = json.loads(text)["info"]["features"].get(reading.label or LABEL_COLUMN, {})
        names = label.get("names")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{shard}: the 'huggingface' metadata is not of the known form ({error}).") from error
    return None if names is None else tuple(map(str, names))


def check_labels(shard: Path, labels: Labels, wrong: npt.NDArray[np.bool_], reason: str) -> None:
    """Refuse the first of `labels`, those of all rows, that is `wrong` [N]."""
    rows = np.flatnonzero(wrong)
    if rows.size:
        raise UserError(f"{shard}, row {rows[0]}: label {labels[rows[0]]} {reason}.")


def read_shard(shard: Path, reading: Reading = USUAL) -> Iterator[list[EncodedImage]]:
    """Yield the encoded images of all rows in order, in batches, so that a shard is never in memory as a whole.

    Raises:
        UserError: the file is not whole Parquet, has no column of image bytes, or a row has no bytes.
    """
    with opened(shard) as file:
        yield from _encoded_batches(shard, file, range(file.num_row_groups), reading)


def read_row_group(
    shard: Path, group: int, kept: npt.NDArray[np.bool_], reading: Reading = USUAL
) -> Iterator[list[EncodedImage]]:
    """Yield, in batches like `read_shard`, the images of one row group; `kept` [rows] says which of its rows.

    Raises:
        UserError: see `read_shard`; or the row group no longer has as many rows as `kept`.
    """
    with opened(shard) as file:
        sizes = _row_group_sizes(file)
        if group >= len(sizes) or sizes[group] != len(kept):
            raise UserError(f"{shard} was changed while it was being streamed.")
        row = 0
        for batch in _encoded_batches(shard, file, [group], reading, first_row=sum(sizes[:group])):
            chosen = list(itertools.compress(batch, kept[row : row + len(batch)]))
            row += len(batch)
            if chosen:
                yield chosen


def row_group_sizes(shard: Path) -> tuple[int, ...]:
    """Return the number of rows of each row group.

    Raises:
        UserError: the file is not whole Parquet.
    """
    with opened(shard) as file:
        return _row_group_sizes(file)


def _encoded_batches(
    shard: Path, file: pq.ParquetFile, groups: Sequence[int], reading: Reading, first_row: int = 0
) -> Iterator[list[EncodedImage]]:
    """Yield the images of consecutive row groups; `first_row` is the row of the shard they begin with."""
    (name, _), row = check_columns(shard, file.schema_arrow, reading), first_row
    for batch in file.iter_batches(batch_size=_BATCH, row_groups=groups, columns=[name]):
        contents = _contents(shard, batch.column(0))
        encoded = [_encoded(content, f"{shard}, row {number}") for number, content in enumerate(contents, start=row)]
        row += len(encoded)
        if encoded:
            yield encoded


def _row_group_sizes(file: pq.ParquetFile) -> tuple[int, ...]:
    return tuple(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))


def check_columns(shard: Path, schema: pa.Schema, reading: Reading) -> tuple[str, str]:
    """Return the names of the image and of the label column once both are known to be there.

    Raises:
        UserError: one is missing.
    """
    label = reading.label or LABEL_COLUMN
    if label not in schema.names:
        raise _missing(shard, "label", (label,), schema)
    wanted = IMAGE_COLUMNS if reading.image is None else (reading.image,)
    for name in wanted:
        if name in schema.names:
            return name, label
    raise _missing(shard, "image", wanted, schema, but=label)


def _missing(shard: Path, role: str, wanted: Sequence[str], schema: pa.Schema, but: str | None = None) -> UserError:
    others = [name for name in schema.names if name != but]
    hint = next((hint for name in wanted if (hint := nearest(name, others))), "")
    return UserError(
        f"{shard} has no column {' or '.join(repr(name) for name in wanted)}; its columns are "
        f"{', '.join(schema.names)}.{hint} 'data.{role}' names the column of the {role}s."
    )


def _contents(shard: Path, column: pa.Array) -> list[bytes | None]:
    if pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0:
        column = pc.struct_field(column, "bytes")
    if not any(is_bytes(column.type) for is_bytes in _BYTES):
        raise UserError(
            f"{shard}: the image column holds {column.type}, not the bytes of image files or a struct with a field "
            "'bytes' (data.image names the column of the images)."
        )
    contents: list[bytes | None] = column.to_pylist()
    return contents


def _encoded(content: bytes | None, place: str) -> EncodedImage:
    if content is None:
        raise UserError(f"{place}: there are no image bytes (paths to image files outside the shard are not followed).")
    return EncodedImage(content, place)


@contextmanager
def opened(shard: Path) -> Iterator[pq.ParquetFile]:
    """Open a shard; whatever goes wrong with the file is a UserError."""
    try:
        with pq.ParquetFile(shard, memory_map=True) as file:
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise UserError(f"{shard} cannot be read; it is truncated or not a Parquet file ({reason}).") from error
