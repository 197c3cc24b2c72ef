"""Decoded data sets kept as memory-mapped files, so that images are decoded once and processes share their pages.

An entry is two files named by the SHA-256 of what was decoded: `KEY.images` (the uint8 images [N, C, H, W] of train
and then test, followed by their int64 labels) and `KEY.json`, written last, which says how to read it. Both are
renamed into place, and what they hold follows from the key, so processes may fill the same entry at the same time. A
third kind of file, `STAMP.key`, remembers the key of files whose paths, sizes and times have not changed, which saves
hashing them again.

The digest of a data set follows from the bytes of its files and from whatever else decided its pixels and labels: an
image that was turned or laid on a ground, a column that was named.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dp_core.data.dataset import ImageDataset
from dp_core.data.findings import Findings
from dp_core.data.identity import array_digests
from dp_core.data.source import Contents, Origin, Source
from dp_core.errors import UserError
from dp_core.files import digest_of_file, digest_of_json, replacing, write_json, write_text

_READER_VERSION = 2  # raise it whenever the same files would decode to other pixels, labels or names
_IDENTITY_VERSION = 1  # raise it only where that is so for data of which there is nothing to turn or to compose
_LABEL_BYTES = 8

FileDigests = Sequence[Sequence[str]]  # of each file its name and the SHA-256 of its bytes


@dataclass(frozen=True, eq=False)
class Opened:
    """The train and the test split of a data set, and where they are from."""

    train: ImageDataset
    test: ImageDataset
    origin: Origin


def open_cached(source: Source, cache: Path) -> Opened:
    """Return the splits of `source` from the folder `cache`, decoding into it first if need be.

    The images are mapped copy-on-write: processes share their pages and cannot change the file. An entry that was cut
    short is noticed and made again. After an error, nothing new is left in `cache`.

    Raises:
        UserError: the source's files are wrong (see the reader), or `cache` cannot be written.
    """
    stamp = cache / f"{_stamp(source)}.key"
    key = _remembered(stamp)
    found = None if key is None else _load(cache, key, source)
    if found is None:
        files = _file_digests(source)
        key = digest_of_json({**_how(source), "files": files})
        found = _load(cache, key, source) or _fill(cache, key, source, files)
    if not stamp.exists() and key is not None:
        with suppress(OSError):  # the entry may live on a disk that others fill and we only read
            write_text(stamp, key)
    return found


def _fill(cache: Path, key: str, source: Source, files: FileDigests) -> Opened:
    contents = source.read()
    try:
        with replacing(cache / f"{key}.images") as temporary:
            shape = _write(temporary, contents)
        entry = {
            "class_names": list(contents.class_names),
            "image_shape": list(shape),
            "train": len(contents.train_labels),
            "test": len(contents.test_labels),
            "identity": _identity(source, files, contents.findings),
            "findings": asdict(contents.findings),
        }
        write_json(cache / f"{key}.json", entry)
    except OSError as error:  # the readers turn their own into UserErrors
        raise UserError(f"The data cache {cache} cannot be written: {error.strerror or error}.") from error
    found = _load(cache, key, source)
    if found is None:
        raise UserError(f"The data cache {cache} changed while it was being filled; is something deleting its files?")
    return found


def _write(path: Path, contents: Contents) -> tuple[int, int, int]:
    labels = np.concatenate([contents.train_labels, contents.test_labels])
    shape, digests = None, list[bytes]()
    with path.open("wb") as file:
        for batch in contents.batches:
            shape = shape or batch.shape[1:]
            if batch.shape[1:] != shape or batch.dtype != np.uint8:
                raise ValueError(f"expected uint8 batches of shape {shape}, got {batch.dtype} {batch.shape[1:]}")
            file.write(np.ascontiguousarray(batch).data)
            digests += array_digests(batch)
        file.write(labels.astype("<i8").tobytes())
    if shape is None or len(digests) != len(labels):
        raise ValueError(f"the reader announced {len(labels)} labels but decoded {len(digests)} images")
    contents.findings.count_copies(digests, len(contents.train_labels))
    channels, height, width = shape
    return channels, height, width


def _load(cache: Path, key: str, source: Source) -> Opened | None:
    """Map the entry, or return None if it is not there or not whole."""
    try:
        entry: dict[str, Any] = json.loads((cache / f"{key}.json").read_text(encoding="utf-8"))
        names, shape, identity = tuple(entry["class_names"]), tuple(entry["image_shape"]), str(entry["identity"])
        findings = Findings(**entry["findings"])
        counts = {"train": int(entry["train"]), "test": int(entry["test"])}
        path, total = cache / f"{key}.images", sum(counts.values())
        label_start = total * int(np.prod(shape))
        if path.stat().st_size != label_start + total * _LABEL_BYTES:
            return None
        labels = np.fromfile(path, dtype="<i8", offset=label_start).astype(np.int64)
        splits, start = [], 0
        for split, count in counts.items():
            offset = start * int(np.prod(shape))
            images = np.memmap(path, dtype=np.uint8, mode="c", offset=offset, shape=(count, *shape))
            digest = digest_of_json({"source": identity, "split": split})
            own = torch.from_numpy(labels[start : start + count])
            splits.append(ImageDataset(torch.from_numpy(images), own, names, digest))
            start += count
    except (OSError, ValueError, KeyError, TypeError):
        return None
    notes = (*source.origin.notes, *findings.sentences(source.reading.ground))
    return Opened(splits[0], splits[1], replace(source.origin, notes=notes))


def _identity(source: Source, files: FileDigests, findings: Findings) -> str:
    """Digest what decided the pixels and labels: the files, and how they were read where that made a difference."""
    decided: dict[str, Any] = {"reader": [source.kind, _IDENTITY_VERSION], "files": files}
    if findings.turned:
        decided["turned"] = findings.turned
    if findings.composed:
        decided["ground"] = source.reading.colour
    if source.columns:
        decided["columns"] = dict(source.columns)
    return digest_of_json(decided)


def _how(source: Source) -> dict[str, Any]:
    """Return what decides how the files are read."""
    return {
        "reader": [source.kind, _READER_VERSION],
        "columns": dict(source.columns),
        "ground": source.reading.colour,
    }


def _file_digests(source: Source) -> FileDigests:
    return [[name, _digest(path)] for name, path in source.files.items()]


def _digest(path: Path) -> str:
    try:
        return digest_of_file(path)
    except OSError as error:
        raise _unreadable(path, error) from error


def _stamp(source: Source) -> str:
    """Digest what the file system says of the files; the change time also gives away a copy that kept its times."""
    files = []
    for name, path in source.files.items():
        try:
            status = path.stat()
        except OSError as error:
            raise _unreadable(path, error) from error
        files.append([name, str(path.resolve()), status.st_size, status.st_mtime_ns, status.st_ctime_ns])
    return digest_of_json({**_how(source), "files": files})


def _remembered(stamp: Path) -> str | None:
    try:
        key = stamp.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return key if re.fullmatch(r"[0-9a-f]{64}", key) else None


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path} cannot be read: {error.strerror or error}.")
