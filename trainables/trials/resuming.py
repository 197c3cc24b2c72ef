"""Saving and loading the state of a trial in a live run, and noticing a checkpoint that is damaged."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from pyarrow import fs
from ray import tune

from dp_core.files import digest_of_file

_STATE, _DIGEST = "state.pt", "state.sha256"
_CHECKPOINT = re.compile(r"checkpoint_\d+")


class DamagedCheckpoint(ValueError):
    """A checkpoint has no state, or one that does not match its digest."""


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors, numbers, strings, lists and dicts of them) into `folder`, with its digest."""
    # Into a file, not to a path: only so does a full disk come as an OSError.
    with (folder / _STATE).open("wb") as file:
        torch.save(state, file)
    (folder / _DIGEST).write_text(digest_of_file(folder / _STATE), encoding="ascii")


def load_state(folder: Path, device: torch.device) -> dict[str, Any]:
    """Read what `save_state` wrote, tensors on `device`; nothing but plain data is ever unpickled.

    Raises:
        DamagedCheckpoint: the state does not match its digest, or one of the two is missing.
    """
    if not is_sound(fs.LocalFileSystem(), str(folder.resolve())):
        raise DamagedCheckpoint(f"the checkpoint {folder} is damaged")
    state: dict[str, Any] = torch.load(folder / _STATE, map_location=device, weights_only=True)
    return state


def load_state_if_sound(folder: Path, device: torch.device) -> dict[str, Any] | None:
    """Read what `save_state` wrote, None if there is nothing or it is damaged, so that the work is to begin again."""
    try:
        return load_state(folder, device)
    except DamagedCheckpoint:
        return None


def load_state_from(checkpoint: str, device: torch.device) -> dict[str, Any]:
    """Read the state of a checkpoint in the run's storage, a local path or one of a bucket's URLs.

    Raises:
        DamagedCheckpoint: as `load_state`, also if there is no such checkpoint.
    """
    return _downloaded(tune.Checkpoint(checkpoint), device)


def newest_sound_state(
    filesystem: fs.FileSystem, trial_folder: str, device: torch.device
) -> tuple[str, dict[str, Any]] | None:
    """Return name and state of the newest sound checkpoint in a trial's folder, None if there is none."""
    for path in sound_checkpoints(filesystem, trial_folder):
        return posixpath.basename(path), _downloaded(tune.Checkpoint(path, filesystem), device)
    return None


def sound_checkpoints(filesystem: fs.FileSystem, trial_folder: str) -> Iterator[str]:
    """Yield the paths of a trial's checkpoints that are complete and undamaged, from the newest on."""
    return (path for path in checkpoints(filesystem, trial_folder) if is_sound(filesystem, path))


def checkpoints(filesystem: fs.FileSystem, trial_folder: str) -> list[str]:
    """Return the paths of a trial's checkpoints, sound or not, the newest first."""
    found = filesystem.get_file_info(fs.FileSelector(trial_folder, allow_not_found=True))
    folders = (entry.path for entry in found if entry.type == fs.FileType.Directory)
    return sorted((path for path in folders if _CHECKPOINT.fullmatch(posixpath.basename(path))), reverse=True)


def is_sound(filesystem: fs.FileSystem, folder: str) -> bool:
    """Return whether the checkpoint in `folder` has a state that matches its digest."""
    try:
        with filesystem.open_input_stream(f"{folder}/{_DIGEST}") as file:
            expected: str = file.read().decode("ascii")
        found = hashlib.sha256()
        with filesystem.open_input_stream(f"{folder}/{_STATE}") as file:
            while block := file.read(1 << 20):
                found.update(block)
    except (OSError, UnicodeDecodeError):
        return False
    return found.hexdigest() == expected


def _downloaded(checkpoint: tune.Checkpoint, device: torch.device) -> dict[str, Any]:
    if not is_sound(checkpoint.filesystem, checkpoint.path):
        raise DamagedCheckpoint(f"the checkpoint {checkpoint.path} is damaged")
    with checkpoint.as_directory() as folder:
        return load_state(Path(folder), device)
