"""Images and labels in sharded Parquet files, as data sets on the Hugging Face hub are laid out.

An image column `img` or `image` is a struct with a field `bytes`, or plain binary; a column `label` holds integers.
Rows are counted from 0 within a file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dp_core.data.decoding import EncodedImage, decode_all
from dp_core.data.shards import find_shards
from dp_core.data.source import Contents, Labels, Source
from dp_core.errors import UserError, nearest

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMN = "label"
_BATCH = 256  # images that are in memory encoded and decoded at a time


def parquet_source(root: Path) -> Source:
    """Describe the data set in the folder `root`; nothing is read but the folder's listing.

    Class names come from the `huggingface` metadata of the shards, else they are "0", "1", ….

    Raises:
        UserError: see `find_shards`; reading it, see `read_labels`, `read_class_names`, `read_images`.
    """
    train, test = find_shards(root)
    files = {f"train/{i}": path for i, path in enumerate(train)} | {f"test/{i}": path for i, path in enumerate(test)}
    return Source("parquet", files, partial(_read, train, test))


def read_class_names(shards: Sequence[Path]) -> tuple[str, ...] | None:
    """Return the class names in the shards' metadata, or None if no shard has any.

    Raises:
        UserError: two shards disagree, or a shard's metadata or the shard itself cannot be read.
    """
    first: tuple[Path, tuple[str, ...]] | None = None
    for shard in shards:
        names = _class_names(shard)
        if names is not None and first is not None and names != first[1]:
            raise UserError(f"{shard} names other classes in its metadata than {first[0]} does.")
        if names is not None and first is None:
            first = shard, names
    return None if first is None else first[1]


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
    _check_labels(shard, labels, labels < 0, "is negative, but labels count from 0")
    return labels


def read_images(shards: Sequence[Path]) -> Iterator[list[EncodedImage]]:
    """Yield the encoded images of all rows in order, in batches, so that a shard is never in memory as a whole.

    Raises:
        UserError: a file is not whole Parquet, has no column of image bytes, or a row has no bytes.
    """
    for shard in shards:
        with _opened(shard) as file:
            name = _check_columns(shard, file.schema_arrow)
            row = 0
            for batch in file.iter_batches(batch_size=_BATCH, columns=[name]):
                encoded = [
                    _encoded(content, f"{shard}, row {number}")
                    for number, content in enumerate(_contents(shard, batch.column(0)), start=row)
                ]
                row += len(encoded)
                if encoded:
                    yield encoded


def _read(train: Sequence[Path], test: Sequence[Path]) -> Contents:
    """Check all that is cheap to check before a single image is decoded."""
    names = read_class_names([*train, *test])
    train_labels, test_labels = ([read_labels(shard) for shard in shards] for shards in (train, test))
    if names is None:
        classes = _count_classes(train, train_labels)
        names, bound = tuple(map(str, range(classes))), f"the train labels are 0 to {classes - 1}"
    else:
        bound = f"the metadata names {len(names)} classes"
    for shard, labels in zip([*train, *test], [*train_labels, *test_labels], strict=True):
        _check_labels(shard, labels, labels >= len(names), f"is out of range: {bound}")
    for shards, found in ((train, train_labels), (test, test_labels)):
        if not any(len(labels) for labels in found):
            raise UserError(f"{shards[0]} holds no rows, nor does any other shard of its split.")
    batches = decode_all(partial(read_images, [*train, *test]))
    return Contents(names, np.concatenate(train_labels), np.concatenate(test_labels), batches)


def _count_classes(shards: Sequence[Path], labels: Sequence[Labels]) -> int:
    present = np.unique(np.concatenate(labels))
    gaps = np.flatnonzero(present != np.arange(len(present)))
    if gaps.size == 0:
        return len(present)
    missing, beyond = int(gaps[0]), present[gaps[0]]
    for shard, own in zip(shards, labels, strict=True):
        reason = f"is out of range: no image has label {missing}, and without class names labels must be 0, 1, 2, …"
        _check_labels(shard, own, own == beyond, reason)
    raise AssertionError("a label that is present was found in no shard")


def _check_labels(shard: Path, labels: Labels, wrong: npt.NDArray[np.bool_], reason: str) -> None:
    rows = np.flatnonzero(wrong)
    if rows.size:
        raise UserError(f"{shard}, row {rows[0]}: label {labels[rows[0]]} {reason}.")


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


def _class_names(shard: Path) -> tuple[str, ...] | None:
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


@contextmanager
def _opened(shard: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(shard) as file:
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise UserError(f"{shard} cannot be read; it is truncated or not a Parquet file ({reason}).") from error
