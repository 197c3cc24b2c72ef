"""Writing tensors as safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors to `path` as any file is written, with the permissions and the errors of one.

    The library's own writing to a path makes files that only their owner can read, and calls a full disk something
    else than an OSError.
    """
    whole = {name: value.contiguous() for name, value in tensors.items()}
    path.write_bytes(save(whole, None if metadata is None else dict(metadata)))
