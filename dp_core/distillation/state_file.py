"""The file of a distillation's state: JSON with the names of tensors in their places, the tensors, a digest of both.

Reading it needs no PyTorch, so that how far a distillation is can be told at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, deserialize

FILES = ("state.safetensors", "state.previous.safetensors")

_TORCH_NAMES = {
    "BOOL": "torch.bool",
    "U8": "torch.uint8",
    "I8": "torch.int8",
    "I16": "torch.int16",
    "I32": "torch.int32",
    "I64": "torch.int64",
    "F16": "torch.float16",
    "BF16": "torch.bfloat16",
    "F32": "torch.float32",
    "F64": "torch.float64",
}


class Damaged(Exception):
    """A checkpoint is not what was written."""


class Part(NamedTuple):
    """A tensor: its name in the file, its format as PyTorch calls it, its shape and its bytes."""

    name: str
    format: str
    shape: list[int]
    content: bytes | bytearray


def digest_of_state(tree: str, parts: Iterable[Part]) -> str:
    """Return the digest that a state of this JSON and these tensors has."""
    found = hashlib.sha256(tree.encode())
    for part in sorted(parts, key=lambda part: part.name):
        found.update(f"{part.name} {part.format} {part.shape}".encode())
        found.update(part.content)
    return found.hexdigest()


def read_state(path: Path) -> tuple[Any, bytes]:
    """Return the JSON of a state, see `restored`, and all bytes of its file, which has the tensors.

    Raises:
        Damaged: the file cannot be read, or is not what was written.
    """
    try:
        content = path.read_bytes()
        tensors = deserialize(content)  # type: ignore[no-untyped-call]
        length = int.from_bytes(content[:8], "little")
        said = json.loads(content[8 : 8 + length])["__metadata__"]
        parts = [Part(name, _TORCH_NAMES[it["dtype"]], list(it["shape"]), it["data"]) for name, it in tensors]
        if said["sha256"] != digest_of_state(said["tree"], parts):
            raise Damaged(f"{path} does not match its own digest")
        return json.loads(said["tree"]), content
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise Damaged(f"{path} is not a readable checkpoint") from error


def restored(value: Any, tensors: Mapping[str, Any]) -> Any:
    """Return the nested dicts and lists that the JSON of a state stands for, with tensors put in by name."""
    if isinstance(value, list):
        return [restored(entry, tensors) for entry in value]
    if isinstance(value, dict):
        if "tensor" in value:
            return tensors.get(value["tensor"])
        return {key: restored(entry, tensors) for key, entry in value["pairs"]}
    return value


def plain_state(folder: Path) -> dict[str, Any] | None:
    """Return the newest undamaged state in a folder, None in the place of every tensor; None if there is none."""
    for path in (folder / name for name in FILES):
        if path.exists():
            try:
                found: dict[str, Any] = restored(read_state(path)[0], {})
            except Damaged:
                continue
            return found
    return None
