"""The state of a distillation on disk: one file that is whole or not there, and the one before it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from dp_core.distillation.state_file import FILES, Damaged, Part, digest_of_state, read_state, restored
from dp_core.files import replacing, room_for


def save_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Write nested dicts and lists of tensors, numbers and strings; the state written before it is kept beside it.

    Raises:
        UserError: the disk is full; what was there before is unharmed.
    """
    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_without_tensors(state, tensors))
    newest, previous = (folder / name for name in FILES)
    with room_for(newest), replacing(newest) as temporary:
        with temporary.open("wb") as file:
            file.write(save(tensors, metadata={"tree": tree, "sha256": _digest(tree, tensors)}))
            file.flush()
            os.fsync(file.fileno())  # a disk may say only now that it is full, and nothing has been renamed yet
        if newest.exists():
            newest.replace(previous)


def load_states(folder: Path) -> list[dict[str, Any] | Damaged]:
    """Return the newest state and the one before it, as many as there are; Damaged in the place of a damaged one."""
    found: list[dict[str, Any] | Damaged] = []
    for path in (folder / name for name in FILES):
        if path.exists():
            try:
                found.append(_load(path))
            except Damaged as damaged:
                found.append(damaged)
    return found


def _load(path: Path) -> dict[str, Any]:
    tree, content = read_state(path)
    found: dict[str, Any] = restored(tree, load(content))
    return found


def _digest(tree: str, tensors: Mapping[str, Tensor]) -> str:
    # As bytes, since numpy has no bfloat16.
    return digest_of_state(
        tree,
        (
            Part(name, str(tensor.dtype), list(tensor.shape), tensor.flatten().view(torch.uint8).numpy().tobytes())
            for name, tensor in tensors.items()
        ),
    )


def _without_tensors(value: Any, into: dict[str, Tensor]) -> Any:
    """Return `value` as JSON, with each tensor moved to `into` and its name in its place."""
    if isinstance(value, Tensor):
        name = str(len(into))
        into[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, Mapping):  # as pairs, because keys may be numbers
        return {"pairs": [[key, _without_tensors(entry, into)] for key, entry in value.items()]}
    if isinstance(value, list | tuple):
        return [_without_tensors(entry, into) for entry in value]
    return value
