"""Writing files so that a reader never sees half of one, and digests of what they hold."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dp_core.errors import UserError


@contextmanager
def room_for(path: Path) -> Iterator[None]:
    """Make a full disk, or a used-up quota, that is met while `path` is written a UserError that names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"There is no room left on the disk for {path}.") from error
        raise


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on a clean exit it is flushed and renamed to `path`, else removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def replacing_together(*paths: Path) -> Iterator[tuple[Path, ...]]:
    """Yield a temporary path beside each of `paths`; on a clean exit all are renamed, in order, else all are removed.

    All of them are flushed before the first is renamed, and a renaming that fails is undone with those before it. Only
    the end of the process between two renamings leaves some files new and some old.
    """
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    temporaries = tuple(_beside(path) for path in paths)
    try:
        yield temporaries
        for temporary in temporaries:
            _flush(temporary)
        _rename_all(dict(zip(temporaries, paths, strict=True)))
    except BaseException:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)
        raise


@contextmanager
def replacing_directory(path: Path) -> Iterator[Path]:
    """Yield an empty temporary directory beside `path`; on a clean exit it takes the place of `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _flush(file)
        aside = _beside(path)
        if path.exists():
            os.replace(path, aside)
        os.replace(temporary, path)
        shutil.rmtree(aside, ignore_errors=True)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, all of it or nothing."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` as indented JSON, all of it or nothing; NaN is refused."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def digest_of_file(path: Path) -> str:
    """Return the SHA-256 of the file's bytes, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_json(value: Any) -> str:
    """Return the SHA-256 of `value` written as canonical JSON (sorted keys, no spaces), 64 hex digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _beside(path: Path) -> Path:
    # Not from the tempfile module: its files are readable by their owner alone, and a run is often shared.
    return path.parent / f".{path.name}.{uuid.uuid4().hex}.tmp"


def _rename_all(targets: Mapping[Path, Path]) -> None:
    """Rename each file to its target; on any error the targets are again what they were."""
    asides: dict[Path, Path] = {}
    try:
        for source, target in targets.items():
            aside = _beside(target)
            if target.exists():
                os.replace(target, aside)
            asides[target] = aside
            os.replace(source, target)
    except BaseException:
        for target, aside in asides.items():
            target.unlink(missing_ok=True)
            if aside.exists():
                os.replace(aside, target)
        raise
    for aside in asides.values():
        aside.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
