"""Finding the last sound checkpoint of a trial that an earlier driver left behind."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from pyarrow import fs

from dp_core.errors import UserError
from trainables.trials.resuming import checkpoints, is_sound

_SESSION = re.compile(r"session-(\d+)")


class CheckpointStore:
    """The checkpoints below one folder of the storage, `<folder>/<session>/<trial directory>/checkpoint_<n>`."""

    def __init__(self, folder: str) -> None:
        self._filesystem, self._root = open_storage(folder)
        self._scheme = f"{folder.partition('://')[0]}://" if "://" in folder else ""

    def next_session(self) -> str:
        """Return the name of a new session: each driver that ran has had its own."""
        numbers = [_session_number(session) for session in self._sessions()]
        return f"session-{max(numbers, default=-1) + 1:03d}"

    def has_sessions(self) -> bool:
        """Return whether a driver has worked here."""
        return bool(self._sessions())

    def newest(self, trial_directory: str, say: Callable[[str], None] = lambda sentence: None) -> str | None:
        """Return the newest checkpoint of that trial that is complete and undamaged, None if there is none.

        Sessions are looked through from the latest, and a damaged checkpoint gives way to the one before it, which
        `say` is told.
        """
        for session in reversed(self._sessions()):
            for checkpoint in checkpoints(self._filesystem, f"{session}/{trial_directory}"):
                if is_sound(self._filesystem, checkpoint):
                    return self._scheme + checkpoint
                say(f"{checkpoint} is damaged or was not finished, so what was before it is used.")
        return None

    def drop(self, trial_directory: str) -> None:
        """Remove the checkpoints of that trial, so that it begins anew."""
        for session in self._sessions():
            folder = f"{session}/{trial_directory}"
            if self._filesystem.get_file_info(folder).type == fs.FileType.Directory:
                self._filesystem.delete_dir(folder)

    def _sessions(self) -> list[str]:
        found = [folder for folder in self._folders(self._root) if _session_number(folder) >= 0]
        return sorted(found, key=_session_number)

    def _folders(self, folder: str) -> list[str]:
        found = self._filesystem.get_file_info(fs.FileSelector(folder, allow_not_found=True))
        return sorted(entry.path for entry in found if entry.type == fs.FileType.Directory)


def absolute(folder: str) -> str:
    """Return the folder's absolute path; a bucket URL as it is."""
    return folder.rstrip("/") if "://" in folder else str(Path(folder).resolve())


def _session_number(folder: str) -> int:
    """Return n of `session-<n>`, -1 for any other folder."""
    named = _SESSION.fullmatch(PurePosixPath(folder).name)
    return int(named[1]) if named else -1


def open_storage(folder: str) -> tuple[fs.FileSystem, str]:
    """Return the filesystem of a folder or bucket URL, and the path on it.

    Raises:
        UserError: the URL is none that pyarrow knows.
    """
    if "://" in folder:
        try:
            filesystem, path = fs.FileSystem.from_uri(folder)
        except (OSError, ValueError) as error:
            raise UserError(f"The storage {folder} cannot be opened: {' '.join(str(error).split())}.") from error
        return filesystem, path
    return fs.LocalFileSystem(), folder
