"""The state of a distillation on disk: one file that is whole or not there, and the one before it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dp_core.files import replacing, room_for

_FILES = ("state.safetensors", "state.previous.safetensors")


class Damaged(Exception):
    """A checkpoint is not what was written."""


def save_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Write nested dicts and lists of tensors, numbers and strings; the state written before it is kept beside it.

    Raises:
        UserError: the disk is full; what was there before is unharmed.
    """
    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_without_tensors(state, tensors))
    newest, previous = (folder / name for name in _FILES)
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
    for path in (folder / name for name in _FILES):
        if path.exists():
            try:
                found.append(_load(path))
            except Damaged as damaged:
                found.append(damaged)
    return found


def _load(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no dict
        if metadata["sha256"] != _digest(metadata["tree"], tensors):
            raise Damaged(f"{path} does not match its own digest")
        restored: dict[str, Any] = _with_tensors(json.loads(metadata["tree"]), tensors)
        return restored
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise Damaged(f"{path} is not a readable checkpoint") from error


def _digest(tree: str, tensors: Mapping[str, Tensor]) -> str:
    found = hashlib.sha256(tree.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        found.update(tensor.flatten().view(torch.uint8).numpy().tobytes())  # numpy has no bfloat16
    return found.hexdigest()


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


def _with_tensors(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_with_tensors(entry, tensors) for entry in value]
    if isinstance(value, dict):
        if "tensor" in value:
            return tensors[value["tensor"]]
        return {key: _with_tensors(entry, tensors) for key, entry in value["pairs"]}
    return value
