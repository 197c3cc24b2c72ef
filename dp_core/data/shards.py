"""Which Parquet shards a folder holds, by the naming of the Hugging Face hub: `SPLIT[-00000-of-00004].parquet`."""

from __future__ import annotations

import re
from pathlib import Path

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
    train = sorted(root.glob("train*.parquet"))
    test = sorted(root.glob("test*.parquet")) or sorted(root.glob("val*.parquet"))
    for shards, pattern in ((train, "train*.parquet"), (test, "test*.parquet or val*.parquet")):
        if not shards:
            raise UserError(f"The data folder {root} holds no {pattern}{_elsewhere(root)}.")
        _check_complete(shards)
    return train, test


def _elsewhere(root: Path) -> str:
    inner = sorted({path.parent for path in root.glob("*/*.parquet")})
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
