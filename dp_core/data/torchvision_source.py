"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) as torchvision keeps them, downloaded where they are not there yet."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dp_core.data.reading import USUAL, Reading
from dp_core.data.source import Contents, Origin, Pixels, Source
from dp_core.errors import UserError

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10

_BATCH = 1024


def cifar10_source(root: Path, reading: Reading = USUAL) -> Source:
    """Describe CIFAR-10 in `root`, the folder torchvision is given (it keeps its files in a folder below).

    Raises:
        UserError: torchvision cannot be imported, the files are not there and cannot be downloaded, or `reading` says
            anything.
    """
    return _source("CIFAR10", root, reading)


def cifar100_source(root: Path, reading: Reading = USUAL) -> Source:
    """Describe CIFAR-100 with its 100 fine labels; otherwise like `cifar10_source`."""
    return _source("CIFAR100", root, reading)


def _source(name: str, root: Path, reading: Reading) -> Source:
    reading.refuse(name.lower(), "image", "label", "ground")
    dataset = _dataset_class(name)
    folder = root / dataset.base_folder
    files = [file for file, _ in [*dataset.train_list, *dataset.test_list]] + [dataset.meta["filename"]]
    if not all((folder / file).is_file() for file in files):
        _load(dataset, root, train=True)
    origin = Origin(f"the training images of {name}", "its test images")
    return Source(name.lower(), {file: folder / file for file in files}, partial(_read, dataset, root), origin)


def _dataset_class(name: str) -> type[CIFAR10]:
    try:
        from torchvision import datasets  # here, because a torchvision that does not match torch fails to import
    except (ImportError, RuntimeError, OSError) as error:
        raise UserError(f"torchvision cannot be imported, so {name} cannot be read: {error}.") from error
    found: type[CIFAR10] = getattr(datasets, name)
    return found


def _load(dataset: type[CIFAR10], root: Path, *, train: bool) -> CIFAR10:
    try:
        return dataset(str(root), train=train, download=True)  # also compares checksums, before it unpickles anything
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"{dataset.__name__} is not whole in {root / dataset.base_folder} and could not be downloaded: {error}."
        ) from error


def _read(dataset: type[CIFAR10], root: Path) -> Contents:
    train, test = (_load(dataset, root, train=split) for split in (True, False))
    labels = [np.asarray(part.targets, dtype=np.int64) for part in (train, test)]
    return Contents(tuple(train.classes), labels[0], labels[1], _batches(train, test))


def _batches(train: CIFAR10, test: CIFAR10) -> Iterator[Pixels]:
    for part in (train, test):
        for start in range(0, len(part.data), _BATCH):
            yield np.ascontiguousarray(part.data[start : start + _BATCH].transpose(0, 3, 1, 2))
