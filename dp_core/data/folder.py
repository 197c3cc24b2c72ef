"""Images as files in folders: `root/train/CLASS/….png` and `root/test/CLASS/….png`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from dp_core.data.decoding import EncodedImage, decode_all
from dp_core.data.source import Contents, Source
from dp_core.errors import UserError, nearest

_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_TEST_FOLDERS = ("test", "val", "valid", "validation")  # the first that exists
_BATCH = 256  # images that are in memory encoded and decoded at a time


def folder_source(root: Path) -> Source:
    """Describe the image folder `root`; only names are looked at, no file is read.

    A class is a folder in `root/train`, its label the folder's rank by name; its images are all files of a known
    suffix (BMP, GIF, JPEG, PGM, PNG, PPM, TIFF, WebP) in it and in folders below it, by name; hidden files do not
    count. Test images lie in `root/test` or, where there is none, in `root/val`, `root/valid` or `root/validation`.

    Raises:
        UserError: a folder is missing, a class has no train image, or test holds a class that train does not.
    """
    if not root.is_dir():
        raise UserError(f"There is no data folder {root}.")
    train, test = root / "train", next((root / n for n in _TEST_FOLDERS if (root / n).is_dir()), root / "test")
    names = tuple(_classes(train))
    for name in _classes(test):
        if name not in names:
            raise UserError(f"{test / name} is a class that {train} does not have.{nearest(name, names)}")
    splits = [[_images(split / name) for name in names] for split in (train, test)]
    for name, paths in zip(names, splits[0], strict=True):
        if not paths:
            raise UserError(f"{train / name} holds no image ({', '.join(sorted(_SUFFIXES))}).")
    if not any(splits[1]):
        raise UserError(f"{test} holds no image ({', '.join(sorted(_SUFFIXES))}).")
    files = {
        f"{split}/{path.relative_to(folder).as_posix()}": path
        for split, folder, classes in (("train", train, splits[0]), ("test", test, splits[1]))
        for paths in classes
        for path in paths
    }
    return Source("folder", files, partial(_read, names, splits[0], splits[1]))


def _read(names: tuple[str, ...], train: Sequence[Sequence[Path]], test: Sequence[Sequence[Path]]) -> Contents:
    train_labels, test_labels = (
        np.repeat(np.arange(len(names)), [len(paths) for paths in classes]) for classes in (train, test)
    )
    paths = [path for classes in (train, test) for found in classes for path in found]
    return Contents(names, train_labels, test_labels, decode_all(partial(_batches, paths)))


def _batches(paths: Sequence[Path]) -> Iterator[list[EncodedImage]]:
    for start in range(0, len(paths), _BATCH):
        yield [EncodedImage(_content(path), str(path)) for path in paths[start : start + _BATCH]]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error


def _classes(split: Path) -> list[str]:
    if not split.is_dir():
        raise UserError(f"There is no folder {split} with one folder of images for each class.")
    names = sorted(path.name for path in split.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        raise UserError(f"{split} holds no folders, but there must be one for each class.")
    return names


def _images(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
