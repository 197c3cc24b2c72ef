"""What has been scored so far: one line a score, added when it is done."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dp_core.errors import UserError
from search.runs.directory import RunDirectory


class ScoreJournal:
    """A file of JSON lines that only grows, written by the driver alone.

    A driver that is killed while it writes leaves half a line at the end; it is cut off before the next one is added,
    and the score is made again.

    Args:
        path: the file; need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._cut = False

    def read(self) -> list[dict[str, Any]]:
        """Return all rows, in the order of writing.

        Raises:
            UserError: a line but the last cannot be read.
        """
        rows = []
        for number, line in enumerate(self._whole_lines(), start=1):
            try:
                row = json.loads(line)
            except ValueError as error:
                raise UserError(f"{self._path}, line {number}: this is not what winnow wrote ({error}).") from error
            rows.append(row)
        return rows

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows; they are on the disk when this returns."""
        if not self._cut and self._path.exists():
            os.truncate(self._path, sum(len(line) + 1 for line in self._whole_lines()))
        self._cut = True
        with self._path.open("ab") as file:
            file.write(b"".join(json.dumps(dict(row)).encode() + b"\n" for row in rows))
            file.flush()
            os.fsync(file.fileno())

    def _whole_lines(self) -> list[bytes]:
        content = self._path.read_bytes() if self._path.exists() else b""
        return content.split(b"\n")[:-1]


def journal_of(run: RunDirectory) -> ScoreJournal:
    """Return the scores of a run."""
    return ScoreJournal(run.path / "scores.jsonl")
