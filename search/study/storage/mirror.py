"""Two copies of a journal, line by line: what damage to either is found, and how it is undone.

The mirror holds every line of the journal behind its CRC-32: `<eight hex digits> <line>`. Either file may end early
or have bytes that changed, never moved, so the place of a line in one follows from the lines before it, even where a
newline is among the bytes that changed. A line counts if the mirror's checksum vouches for it, or if the mirror has
nothing to say of it and it reads as a line of a journal.
"""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass

_CHECKSUM = re.compile(rb"[0-9a-f]{8} ")
_PREFIX = 9
"""Bytes of a mirror's line before the journal's own: eight hex digits and a space."""


@dataclass(frozen=True)
class Reconciled:
    """What two copies of a journal come to.

    Attributes:
        lines: the good lines in order, without their newlines.
        restored: indices of the lines that the journal had otherwise and the mirror restored.
        completed: lines that the journal, cut short, had lost and the mirror restored.
        unvouched: indices of the lines whose copy in the mirror was damaged.
        journal_rest: what follows the good lines in the journal.
        mirror_rest: what follows them in the mirror.
        behind: whether the mirror ends before the good lines do.
    """

    lines: tuple[bytes, ...]
    restored: tuple[int, ...]
    completed: int
    unvouched: tuple[int, ...]
    journal_rest: bytes
    mirror_rest: bytes
    behind: bool

    @property
    def journal_is_whole(self) -> bool:
        """Whether the journal has the good lines and nothing else."""
        return not (self.restored or self.completed or self.journal_rest)

    @property
    def mirror_is_whole(self) -> bool:
        """Whether the mirror has the good lines and nothing else."""
        return not (self.unvouched or self.behind or self.mirror_rest)

    @property
    def torn(self) -> bool:
        """Whether what follows is at most half a line, which a writer that was killed leaves."""
        return b"\n" not in self.journal_rest and b"\n" not in self.mirror_rest


def mirrored(line: bytes) -> bytes:
    """Return a line of a journal, without its newline, as the mirror holds it, with its newline."""
    return _checksum(line) + line + b"\n"


def _checksum(line: bytes) -> bytes:
    return b"%08x " % zlib.crc32(line)


def reconcile(journal: bytes, mirror: bytes) -> Reconciled:
    """Return what the bytes of a journal and of its mirror come to; either may be empty."""
    lines: list[bytes] = []
    restored: list[int] = []
    unvouched: list[int] = []
    completed, at, at_mirror = 0, 0, 0
    while True:
        line = _vouched(mirror, at_mirror)
        if line is not None:
            if at + len(line) >= len(journal):
                completed += 1
            elif not (journal.startswith(line, at) and journal.startswith(b"\n", at + len(line))):
                restored.append(len(lines))
        else:
            line = _unvouched(journal, at, mirror, at_mirror)
            if line is None:
                break
            if at_mirror + _PREFIX + len(line) < len(mirror):
                unvouched.append(len(lines))
        lines.append(line)
        at += len(line) + 1
        at_mirror += _PREFIX + len(line) + 1
    rests = journal[at:], mirror[at_mirror:]
    behind = at_mirror > len(mirror)
    return Reconciled(tuple(lines), tuple(restored), completed, tuple(unvouched), *rests, behind)


def _vouched(mirror: bytes, at: int) -> bytes | None:
    """Return the line that the mirror has at a place, if its checksum is right."""
    if not mirror.startswith(b" ", at + _PREFIX - 1):  # no need to look for the end of what is no line
        return None
    end = mirror.find(b"\n", at + _PREFIX)
    if end < 0:
        return None
    line = mirror[at + _PREFIX : end]
    return line if mirror.startswith(_checksum(line), at) else None


def _unvouched(journal: bytes, at: int, mirror: bytes, at_mirror: int) -> bytes | None:
    """Return the line that the journal has at a place where the mirror has none that is whole, if it may be trusted."""
    end = journal.find(b"\n", at)
    if end < 0:
        return None
    line = journal[at:end]
    if _CHECKSUM.match(mirror, at_mirror):
        # One of three is wrong: the journal's line, the mirror's line, or the checksum. Two that agree are right.
        if mirror.startswith(_checksum(line), at_mirror):
            return line
        if not mirror.startswith(line, at_mirror + _PREFIX):
            return None
    return line if _is_log(line) else None


def _is_log(line: bytes) -> bool:
    try:
        log = json.loads(line)
    except ValueError:
        return False
    return isinstance(log, dict) and isinstance(log.get("op_code"), int) and isinstance(log.get("worker_id"), str)
