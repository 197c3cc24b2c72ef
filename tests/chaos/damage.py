"""What a bad disk does to files, and where in a run it hurts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq
from pyarrow.fs import LocalFileSystem

from tests.chaos.evidence import Kept
from trainables.trials.resuming import sound_checkpoints


def truncate(path: Path) -> None:
    """Lose the second half of a file."""
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def lose_tail(path: Path) -> None:
    """Lose the last bytes of a file, as many as a short line has."""
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 40)


def flip(path: Path) -> None:
    """Flip one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x04
    path.write_bytes(content)


def flip_in_column(path: Path) -> None:
    """Flip one bit in the middle of a Parquet file's longest column; in other places no row may depend on it."""
    group = pq.read_metadata(path).row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    longest = max(columns, key=lambda column: column.total_compressed_size)
    content = bytearray(path.read_bytes())
    begin = longest.dictionary_page_offset if longest.has_dictionary_page else longest.data_page_offset
    content[begin + longest.total_compressed_size // 2] ^= 0x04
    path.write_bytes(content)


def flip_high(path: Path) -> None:
    """Flip the highest bit of a byte in the middle of a text, which makes it no text any more."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x80
    path.write_bytes(content)


def overwrite_page(path: Path) -> None:
    """Lose the second page of a database, of the size that SQLite's pages have."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)


def checkpoints(run: Path, number: int) -> list[Path]:
    """Return the complete checkpoints of a trial in its latest session, the newest last; a kill leaves others."""
    sessions = sorted((run / "screening").glob(f"session-*/{number:05d}"))
    found = sound_checkpoints(LocalFileSystem(), str(sessions[-1])) if sessions else ()
    return sorted(Path(path) for path in found)


def half_done(run: Path, trials: Mapping[int, Kept]) -> list[Path]:
    """Return the newest checkpoint of every trial that has one and has not ended."""
    found = [checkpoints(run, number) for number, trial in trials.items() if not trial.ended]
    return [folders[-1] for folders in found if folders]
