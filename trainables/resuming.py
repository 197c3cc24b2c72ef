"""Saving and loading the state of a trial in a live run, and noticing a checkpoint that is damaged."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from pyarrow import fs
from ray import tune

from dp_core.files import digest_of_file

_STATE, _DIGEST = "state.pt", "state.sha256"


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors, numbers, strings, lists and dicts of them) into `folder`, with its digest."""
    torch.save(state, folder / _STATE)
    (folder / _DIGEST).write_text(digest_of_file(folder / _STATE), encoding="ascii")


def load_state(folder: Path, device: torch.device) -> dict[str, Any]:
    """Read what `save_state` wrote, tensors on `device`; nothing but plain data is ever unpickled.

    Raises:
        ValueError: the state does not match its digest.
    """
    if digest_of_file(folder / _STATE) != (folder / _DIGEST).read_text(encoding="ascii"):
        raise ValueError(f"the checkpoint {folder} is damaged")
    state: dict[str, Any] = torch.load(folder / _STATE, map_location=device, weights_only=True)
    return state


def load_state_if_sound(folder: Path, device: torch.device) -> dict[str, Any] | None:
    """Read what `save_state` wrote, None if there is nothing or it is damaged, so that the work is to begin again."""
    try:
        return load_state(folder, device)
    except (FileNotFoundError, ValueError):
        return None


def load_state_from(checkpoint: str, device: torch.device) -> dict[str, Any]:
    """Read the state of a checkpoint in the run's storage, a local path or one of a bucket's URLs."""
    with tune.Checkpoint(checkpoint).as_directory() as folder:
        return load_state(Path(folder), device)


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
