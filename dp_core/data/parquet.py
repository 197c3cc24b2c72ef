"""Images and labels in sharded Parquet files, as data sets on the Hugging Face hub are laid out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from dp_core.data.decoding import EncodedImage, decode_all
from dp_core.data.findings import Findings
from dp_core.data.parquet_labels import check_same_type, read_label_strings, read_labels
from dp_core.data.parquet_shard import check_labels, class_names_of, read_shard, unusual_columns
from dp_core.data.reading import USUAL, Reading
from dp_core.data.shards import find_shards, origin_of
from dp_core.data.source import Contents, Labels, Source
from dp_core.errors import UserError


def parquet_source(root: Path, reading: Reading = USUAL) -> Source:
    """Describe the data set in the folder `root`; of the shards, nothing but the first one's columns is read.

    Class names come from the `huggingface` metadata of the shards; else they are the labels themselves where these are
    strings, in order, or "0", "1", ….

    Raises:
        UserError: see `find_shards`; reading it, see `read_labels`, `read_class_names`, `read_images`.
    """
    train, test = find_shards(root)
    files = {f"train/{i}": path for i, path in enumerate(train)} | {f"test/{i}": path for i, path in enumerate(test)}
    columns = unusual_columns(train[0], reading)
    read = partial(_read, train, test, reading)
    return Source("parquet", files, read, origin_of(train, test), columns, reading)


def read_class_names(shards: Sequence[Path], reading: Reading = USUAL) -> tuple[str, ...] | None:
    """Return the class names in the shards' metadata, or None if no shard has any.

    Raises:
        UserError: two shards disagree, or a shard's metadata or the shard itself cannot be read.
    """
    first: tuple[Path, tuple[str, ...]] | None = None
    for shard in shards:
        names = class_names_of(shard, reading)
        if names is not None and first is not None and names != first[1]:
            raise UserError(f"{shard} names other classes in its metadata than {first[0]} does.")
        if names is not None and first is None:
            first = shard, names
    return None if first is None else first[1]


def read_images(shards: Sequence[Path], reading: Reading = USUAL) -> Iterator[list[EncodedImage]]:
    """Yield the encoded images of all shards, one shard after another; see `read_shard`."""
    for shard in shards:
        yield from read_shard(shard, reading)


def read_classes(
    train: Sequence[Path], test: Sequence[Path] = (), reading: Reading = USUAL
) -> tuple[tuple[str, ...], list[Labels]]:
    """Return the class names and the labels of each shard, those of train first.

    Raises:
        UserError: see `read_class_names` and `read_labels`; or a label has no class, or a split has no rows.
    """
    shards = [*train, *test]
    names = read_class_names(shards, reading)
    if names is None:
        check_same_type(shards, reading)
        names = _named_by_labels(train, reading)
    labels = [read_labels(shard, reading, names) for shard in shards]
    if names is None:
        classes = _count_classes(train, labels[: len(train)])
        names, bound = tuple(map(str, range(classes))), f"the train labels are 0 to {classes - 1}"
    else:
        bound = f"the metadata names {len(names)} classes"  # strings are in range
    for shard, own in zip(shards, labels, strict=True):
        check_labels(shard, own, own >= len(names), f"is out of range: {bound}")
    for split, found in ((train, labels[: len(train)]), (test, labels[len(train) :])):
        if split and not any(len(own) for own in found):
            raise UserError(f"{split[0]} holds no rows, nor does any other shard of its split.")
    return names, labels


def _read(train: Sequence[Path], test: Sequence[Path], reading: Reading) -> Contents:
    """Check all that is cheap to check before a single image is decoded."""
    names, labels = read_classes(train, test, reading)
    findings = Findings()
    batches = decode_all(partial(read_images, [*train, *test], reading), reading.colour, findings)
    train_labels, test_labels = np.concatenate(labels[: len(train)]), np.concatenate(labels[len(train) :])
    return Contents(names, train_labels, test_labels, batches, findings)


def _named_by_labels(train: Sequence[Path], reading: Reading) -> tuple[str, ...] | None:
    """Return the labels of the training images where these are strings, in order, else None."""
    found = [read_label_strings(shard, reading) for shard in train]
    return tuple(sorted(set().union(*found))) or None


def _count_classes(shards: Sequence[Path], labels: Sequence[Labels]) -> int:
    present = np.unique(np.concatenate(labels))
    gaps = np.flatnonzero(present != np.arange(len(present)))
    if gaps.size == 0:
        return len(present)
    missing, beyond = int(gaps[0]), present[gaps[0]]
    for shard, own in zip(shards, labels, strict=True):
        reason = f"is out of range: no image has label {missing}, and without class names labels must be 0, 1, 2, …"
        check_labels(shard, own, own == beyond, reason)
    raise AssertionError("a label that is present was found in no shard")
