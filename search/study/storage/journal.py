"""The study in a journal file: a stock Optuna journal, with a mirror beside it from which damage is undone."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend
from optuna.storages.journal._file import get_lock_file

from dp_core.errors import UserError
from dp_core.files import room_for
from search.study.storage.medium import Medium
from search.study.storage.mending import mend, mirror_of, read_copies
from search.study.storage.mirror import mirrored


class MirroredJournal(JournalFileBackend):
    """Optuna's journal file; every line also goes, behind its CRC-32, to a mirror beside it.

    The journal is written first and made durable, then the mirror: whatever a kill leaves, the mirror has no line that
    the journal lacks, and a journal that is ahead of its mirror is no damage. So is what stock Optuna has appended;
    it is mirrored before the next line of ours, so that both files always have the same lines in the same order.

    Opening it undoes damage and removes the lock that a killed driver left: that no other driver is at work is for the
    run's own lock to see to.

    Attributes:
        notes: a sentence for each thing that was found damaged and was mended.
    """

    def __init__(self, path: Path) -> None:
        path.with_name(path.name + ".lock").unlink(missing_ok=True)
        self.notes = mend(path)
        self._journal, self._mirror = path, mirror_of(path)
        self._journal_size, self._mirror_size = path.stat().st_size, self._mirror.stat().st_size
        self._held: list[dict[str, Any]] | None = None
        super().__init__(str(path))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """See JournalFileBackend; a write that fails leaves no half line behind.

        Raises:
            UserError: something else has cut the journal short.
            OSError: the disk is full, or cannot be written.
        """
        if self._held is not None:
            self._held.extend(logs)
            return
        with get_lock_file(self._lock):
            self._adopt()
            self._append([json.dumps(log, separators=(",", ":")).encode() for log in logs])

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """See JournalFileBackend; nothing is new while logs are held back."""
        if self._held is None:
            yield from super().read_logs(log_number_from)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Hold back what is appended in this context, and append it at once at its end; on an error, nothing of it."""
        held: list[dict[str, Any]] = []
        self._held = held
        try:
            yield
        finally:
            self._held = None
        if held:
            self.append_logs(held)

    def _append(self, lines: Sequence[bytes]) -> None:
        # Line by line, the journal is what Optuna itself would have written.
        content = b"".join(line + b"\n" for line in lines)
        self._journal_size = _write_at(self._journal, self._journal_size, content, os.fsync)
        self._mirror_lines(lines)

    def _mirror_lines(self, lines: Sequence[bytes]) -> None:
        # Not made durable: what the mirror loses with the power, the journal has.
        content = b"".join(map(mirrored, lines))
        self._mirror_size = _write_at(self._mirror, self._mirror_size, content, _leave)

    def _adopt(self) -> None:
        """Mirror what others have appended to the journal, and take away what they left half written."""
        size = self._journal.stat().st_size if self._journal.exists() else 0
        if size < self._journal_size:
            raise UserError(f"{self._journal} was cut short by something else while the run was writing to it.")
        if size == self._journal_size:
            return
        with self._journal.open("r+b") as file:
            file.seek(self._journal_size)
            whole, _, half = file.read().rpartition(b"\n")
            if half:
                file.truncate(size - len(half))
        if len(half) < size - self._journal_size:
            self._mirror_lines(whole.split(b"\n"))
            self._journal_size = size - len(half)


def _write_at(path: Path, at: int, content: bytes, settle: Callable[[int], None]) -> int:
    """Make `content` what follows byte `at` of a file; return where it ends. On any error the file ends at `at`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        written = 0
        while written < len(content):
            written += os.pwrite(descriptor, content[written:], at + written)
        settle(descriptor)
    except BaseException:
        os.ftruncate(descriptor, at)
        raise
    finally:
        os.close(descriptor)
    return at + len(content)


def _leave(descriptor: int) -> None:
    """Let the operating system write when it likes."""


class _Lines(BaseJournalBackend):
    """The lines of a journal as they were when it was read."""

    def __init__(self, lines: Sequence[bytes]) -> None:
        self._lines = lines

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """See BaseJournalBackend."""
        return map(json.loads, self._lines[log_number_from:])

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """See BaseJournalBackend; a journal that was only read takes nothing.

        Raises:
            PermissionError: always.
        """
        raise PermissionError("The journal was opened to be read.")


def open_journal(path: Path) -> Medium:
    """Open a journal, making it if it is not there and mending what is damaged.

    Raises:
        UserError: there is no room for it, or it holds something that Optuna cannot read.
    """
    with reading_journal(path):
        backend = MirroredJournal(path)
        storage = JournalStorage(backend)

    def number_of(trial_id: int) -> int:
        return storage.get_trial(trial_id).number

    def has_ended(trial_id: int) -> bool:
        return storage.get_trial(trial_id).state.is_finished()

    return Medium(
        storage,
        together=backend.together,
        reading=lambda: reading_journal(path),
        writing=lambda: room_for(path),
        number_of=number_of,
        has_ended=has_ended,
        close=_nothing,
        notes=backend.notes,
    )


def read_journal(path: Path) -> JournalStorage | None:
    """Return what a journal holds without changing it, damage being undone in memory; None where it holds nothing yet.

    Raises:
        UserError: it holds something that Optuna cannot read.
    """
    lines = read_copies(path).lines
    with reading_journal(path):
        return JournalStorage(_Lines(lines)) if lines else None


@contextmanager
def reading_journal(path: Path) -> Iterator[None]:
    """Make a full disk, and what Optuna cannot read, a UserError that names the journal."""
    try:
        with room_for(path):
            yield
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged: {' '.join(str(error).split()) or type(error).__name__}.") from error


def _nothing() -> None:
    """Nothing is held open between two events."""
