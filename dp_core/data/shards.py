"""Which Parquet shards a folder holds, by the naming of the Hugging Face hub: `SPLIT[-00000-of-00004].parquet`."""

from __future__ import annotations

import re
from pathlib import Path

from dp_core.data.hidden import is_hidden
from dp_core.data.source import Origin
from dp_core.errors import UserError

_NUMBERED = re.compile(r"(?P<stem>.+)-(?P<number>\d+)-of-(?P<count>\d+)\.parquet")


def find_shards(root: Path) -> tuple[list[Path], list[Path]]:
    """Return the shards of (train, test) in the folder `root`, each sorted by name.

    Train is `train*.parquet`. Test is `test*.parquet` or, where there is none (the hub often withholds it),
    `val*.parquet`, which covers `valid` and `validation`; beside a test split, the latter is not used.

    Raises:
        UserError: no such folder, no shards of a split, or a numbered shard is missing.
    """
    if not root.is_dir():
        raise UserError(f"There is no data folder {root}.")
    train = _files(root, "train*.parquet")
    test = _files(root, "test*.parquet") or _files(root, "val*.parquet")
    for shards, pattern in ((train, "train*.parquet"), (test, "test*.parquet or val*.parquet")):
        if not shards:
            raise UserError(f"The data folder {root} holds no {pattern}{_elsewhere(root)}.")
        _check_complete(shards)
    return train, test


def origin_of(train: list[Path], test: list[Path]) -> Origin:
    """Return which shards, as `find_shards` found them, became which split, and which files beside them none."""
    used = {*train, *test}
    unused = [path.name for path in _files(train[0].parent, "*.parquet") if path not in used]
    notes = []
    if validation := [name for name in unused if name.startswith("val")]:
        notes.append(
            f"{_pattern(validation)} is not used: validation images are held back from the training images "
            "(data.validation)"
        )
    if others := [name for name in unused if not name.startswith("val")]:
        notes.append(f"neither train nor test, and not read: {', '.join(others)}")
    first, second = (_pattern([path.name for path in shards]) for shards in (train, test))
    if not test[0].name.startswith("test"):
        second += ", the validation split of the data, as there is no test split"
    return Origin(first, second, tuple(notes))


def _files(root: Path, pattern: str) -> list[Path]:
    return sorted(path for path in root.glob(pattern) if not path.is_dir() and not is_hidden(path.name))


def _pattern(names: list[str]) -> str:
    """Return shards in short: `train-*.parquet` for those that differ in their numbers, else all names."""
    short = dict.fromkeys(re.sub(r"-\d+-of-\d+\.parquet$", "-*.parquet", name) for name in names)
    return names[0] if len(names) == 1 else ", ".join(short)


def _elsewhere(root: Path) -> str:
    inner = sorted({path.parent for path in root.glob("*/*.parquet") if not is_hidden(path.parent.name)})
    return f"; did you mean {inner[0]}?" if inner else ""


def _check_complete(shards: list[Path]) -> None:
    """A download that stopped half-way must not pass for a smaller data set."""
    names = {shard.name for shard in shards}
    for shard in shards:
        match = _NUMBERED.fullmatch(shard.name)
        if match is None:
            continue
        for number in range(int(match["count"])):
            wanted = f"{match['stem']}-{number:0{len(match['number'])}}-of-{match['count']}.parquet"
            if wanted not in names:
                raise UserError(f"The data folder {shard.parent} lacks {wanted}, though it holds {shard.name}.")
