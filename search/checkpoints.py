"""Finding the last sound checkpoint of a trial that an earlier driver left behind."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from pyarrow import fs

from trainables.resuming import is_sound

_CHECKPOINT = re.compile(r"checkpoint_\d+")


class CheckpointStore:
    """The checkpoints below one folder of the storage, `<folder>/<session>/<trial directory>/checkpoint_<n>`."""

    def __init__(self, folder: str) -> None:
        self._filesystem, self._root = _open(folder)

    def next_session(self) -> str:
        """Return the name of a new session: each driver that ran has had its own."""
        return f"session-{len(self._folders(self._root)):03d}"

    def newest(self, trial_directory: str) -> str | None:
        """Return the newest checkpoint of that trial that is complete and undamaged, None if there is none.

        Sessions are looked through from the latest, and a damaged checkpoint gives way to the one before it.
        """
        for session in reversed(self._folders(self._root)):
            folder = f"{session}/{trial_directory}"
            for checkpoint in reversed(self._folders(folder)):
                named = _CHECKPOINT.fullmatch(PurePosixPath(checkpoint).name)
                if named and is_sound(self._filesystem, checkpoint):
                    return checkpoint
        return None

    def _folders(self, folder: str) -> list[str]:
        found = self._filesystem.get_file_info(fs.FileSelector(folder, allow_not_found=True))
        return sorted(entry.path for entry in found if entry.type == fs.FileType.Directory)


def _open(folder: str) -> tuple[fs.FileSystem, str]:
    if "://" in folder:
        filesystem, path = fs.FileSystem.from_uri(folder)
        return filesystem, path
    return fs.LocalFileSystem(), folder
