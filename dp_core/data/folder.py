"""Images as files in folders: `root/train/CLASS/….png` and `root/test/CLASS/….png`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from dp_core.data.decoding import EncodedImage, decode_all
from dp_core.data.findings import Findings
from dp_core.data.hidden import is_hidden
from dp_core.data.reading import USUAL, Reading
from dp_core.data.source import Contents, Origin, Source
from dp_core.errors import UserError, nearest

_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga"}
    | {".tif", ".tiff", ".webp"}
)
_TEST_FOLDERS = ("test", "val", "valid", "validation")  # the first that exists
_BATCH = 256  # images that are in memory encoded and decoded at a time


def folder_source(root: Path, reading: Reading = USUAL) -> Source:
    """Describe the image folder `root`; only names are looked at, no file is read.

    A class is a folder in `root/train`, its label the folder's rank by name; its images are all files of a known
    suffix (BMP, GIF, JPEG, PNG, TIFF, WebP, …, in upper or lower case) in it and in folders below it, links followed,
    by name. Hidden files and whatever lies below a hidden folder do not count. Test images lie in `root/test` or, where
    there is none, in `root/val`, `root/valid` or `root/validation`.

    Raises:
        UserError: a folder is missing, a class has no train image, test holds a class that train does not, an image is
            a link to nothing, or a column is named.
    """
    reading.refuse("folder", "image", "label")
    if not root.is_dir():
        raise UserError(f"There is no data folder {root}.")
    train, test = root / "train", next((root / n for n in _TEST_FOLDERS if (root / n).is_dir()), root / "test")
    names = tuple(_classes(train))
    for name in _classes(test):
        if name not in names:
            raise UserError(f"{test / name} is a class that {train} does not have.{nearest(name, names)}")
    other: Counter[str] = Counter()
    splits = [[_images(split / name, other) for name in names] for split in (train, test)]
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
    read = partial(_read, names, splits[0], splits[1], reading)
    return Source("folder", files, read, _origin(root, train, test, other), reading=reading)


def _read(
    names: tuple[str, ...], train: Sequence[Sequence[Path]], test: Sequence[Sequence[Path]], reading: Reading
) -> Contents:
    train_labels, test_labels = (
        np.repeat(np.arange(len(names)), [len(paths) for paths in classes]) for classes in (train, test)
    )
    paths = [path for classes in (train, test) for found in classes for path in found]
    findings = Findings()
    batches = decode_all(partial(_batches, paths), reading.colour, findings)
    return Contents(names, train_labels, test_labels, batches, findings)


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
    names = sorted(path.name for path in split.iterdir() if path.is_dir() and not is_hidden(path.name))
    if not names:
        raise UserError(f"{split} holds no folders, but there must be one for each class.")
    return names


def _images(folder: Path, other: Counter[str]) -> list[Path]:
    """Return the images in and below a folder, sorted; files of other suffixes are counted in `other`."""
    found = []
    for path in _files(folder, frozenset()):
        if path.suffix.lower() not in _SUFFIXES:
            other[path.suffix.lower() or "no suffix"] += 1
        elif path.is_file():
            found.append(path)
        else:
            raise UserError(f"{path} is a link to a file that is not there.")
    return sorted(found)


def _files(folder: Path, above: frozenset[str]) -> Iterator[Path]:
    """Yield what is no folder in and below `folder` and not hidden; a link back to a folder `above` is not followed."""
    place = os.path.realpath(folder)
    if place in above or not folder.is_dir():
        return
    for path in folder.iterdir():
        if is_hidden(path.name):
            continue
        if path.is_dir():
            yield from _files(path, above | {place})
        else:
            yield path


def _origin(root: Path, train: Path, test: Path, other: Counter[str]) -> Origin:
    notes = []
    if unused := [name for name in _TEST_FOLDERS if (root / name).is_dir() and root / name != test]:
        notes.append(
            f"{', '.join(f'{name}/' for name in unused)} is not used: validation images are held back from train/ "
            "(data.validation)"
        )
    for split in (train, test):
        if loose := sum(path.suffix.lower() in _SUFFIXES and not is_hidden(path.name) for path in split.iterdir()):
            notes.append(f"images in {split.name}/ itself, in no folder of a class, which are not read: {loose:,}")
    if other:
        kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(other.items()))
        notes.append(f"files of other kinds in the folders of classes are not read: {kinds}")
    stands_in = "" if test.name == "test" else ", the validation split of the data, as there is no test/"
    return Origin("train/", f"{test.name}/{stands_in}", tuple(notes))
