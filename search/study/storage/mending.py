"""Undoing what damaged a journal or its mirror, where either has what the other lost."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

from dp_core.files import replacing, room_for
from search.study.storage.mirror import Reconciled, mirrored, reconcile


def mirror_of(journal: Path) -> Path:
    """Return the path of the mirror of a journal."""
    return journal.with_name(journal.name + ".mirror")


def read_copies(journal: Path) -> Reconciled:
    """Return what a journal and its mirror come to, changing neither; a file that is not there counts as empty."""
    # The mirror is written last, so it is read first: a driver that writes meanwhile then makes the journal longer,
    # which is no damage.
    mirror = _bytes_of(mirror_of(journal))
    return reconcile(_bytes_of(journal), mirror)


def _bytes_of(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def mend(journal: Path) -> tuple[str, ...]:
    """Make a journal and its mirror agree on all that can be saved; return a sentence for each thing that was damaged.

    A file is gone on with where it ends, or replaced by a whole one: a process that is killed while it mends leaves
    nothing that mending does not find.

    Raises:
        UserError: there is no room on the disk.
    """
    found = read_copies(journal)
    mirror = mirror_of(journal)
    notes = _notes(journal, mirror, found)
    with room_for(journal):
        if not found.torn:
            notes.append(_set_aside(journal, mirror, found))
        if not (found.journal_is_whole and journal.exists()):
            _complete(journal, b"".join(line + b"\n" for line in found.lines))
        if not (found.mirror_is_whole and mirror.exists()):
            _complete(mirror, b"".join(map(mirrored, found.lines)))
    return tuple(notes)


def _notes(journal: Path, mirror: Path, found: Reconciled) -> list[str]:
    notes = []
    if found.restored:
        notes.append(f"{_lines(found.restored)} of {journal} was damaged and was restored from {mirror.name}.")
    if found.completed:
        lost = "its last line" if found.completed == 1 else f"its last {found.completed} lines"
        notes.append(f"{journal} had lost {lost}, restored from {mirror.name}.")
    if found.unvouched:
        notes.append(f"{_lines(found.unvouched)} of {mirror} was damaged and was restored from {journal.name}.")
    # A half line that the other file has whole is restored, and needs no word of its own.
    if found.torn and found.journal_rest:
        notes.append(f"The last line of {journal} was only half written and was dropped.")
    if found.torn and found.mirror_rest:
        notes.append(f"The last line of {mirror} was only half written and was dropped.")
    return notes


def _lines(indices: tuple[int, ...]) -> str:
    if len(indices) == 1:
        return f"Line {indices[0] + 1}"
    return f"Each of {len(indices)} lines from line {indices[0] + 1} on"


def _set_aside(journal: Path, mirror: Path, found: Reconciled) -> str:
    """Keep what cannot be used beside the journal; return the sentence that says so."""
    number = next(n for n in count(1) if not any(_damaged(path, n).exists() for path in (journal, mirror)))
    for path, rest in ((journal, found.journal_rest), (mirror, found.mirror_rest)):
        if rest:
            _replace(_damaged(path, number), rest)
    names = [_damaged(path, number).name for path in (journal, mirror) if _damaged(path, number).exists()]
    return (
        f"Line {len(found.lines) + 1} of {journal} is damaged beyond repair: "
        f"it and what follows were set aside in {' and '.join(names)}."
    )


def _damaged(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.damaged-{number}")


def _complete(path: Path, content: bytes) -> None:
    """Make `content` what a file holds."""
    was = _bytes_of(path)
    if not (path.exists() and content.startswith(was)):
        _replace(path, content)
        return
    # On a disk that was full, room for what is missing is found sooner than room for a second copy.
    with path.open("ab") as file:
        file.write(content[len(was) :])
        file.flush()
        os.fsync(file.fileno())


def _replace(path: Path, content: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)
