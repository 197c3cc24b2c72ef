"""What steps and warm-ups took on this machine: a small store that trials and processes share."""

from __future__ import annotations

import functools
import json
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dp_core.files import digest_of_json, write_json
from dp_core.kernels import cache_folder, cpu_facts


@dataclass(frozen=True)
class Measurement:
    """What one step of a training costs with and without compiling, in seconds.

    `uncompiled` and `compiled` are a forward and backward pass; `warm_up` is what compiling took when nothing was in
    the cache. `compiled` is None if compiling failed or, where it was not `tried`, did not look worth it.
    """

    uncompiled: float
    compiled: float | None
    warm_up: float
    tried: bool = True

    def __post_init__(self) -> None:
        times = [self.uncompiled, self.warm_up, *([] if self.compiled is None else [self.compiled])]
        if not all(type(time) in (int, float) and 0 <= time < math.inf for time in times):
            raise ValueError(f"These are not measured times: {times}.")


def key_of(model: nn.Module, images: Tensor, **facts: Any) -> str:
    """Return what a measurement holds for: structure of `model`, shape and device of a batch, machine, and `facts`."""
    device = images.device
    here: Mapping[str, Any] = {
        "structure": str(model),
        "parameters": [(name, list(value.shape), str(value.dtype)) for name, value in model.named_parameters()],
        "batch": [list(images.shape), str(images.dtype)],
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "compiler": os.environ.get("CXX") or shutil.which("g++"),
        "torch": torch.__version__,
    }
    return digest_of_json({**facts, **here})


def load(key: str) -> Measurement | None:
    """Return what was stored under `key`; None if nothing was, or if it cannot be read."""
    try:
        return Measurement(**json.loads(_path(key).read_text(encoding="utf-8")))
    except (OSError, RuntimeError, TypeError, ValueError):  # RuntimeError: there is no home folder
        return None


def save(key: str, measurement: Measurement) -> None:
    """Store `measurement` under `key` in place of what was there; does nothing where nothing can be written."""
    try:
        write_json(_path(key), asdict(measurement))
    except (OSError, RuntimeError):
        return


def _path(key: str) -> Path:
    return cache_folder().parent / "step-seconds" / f"{key[:32]}.json"


@functools.cache
def processor() -> str:
    """Return a digest of the processor's model and of the instructions that it has."""
    return digest_of_json(cpu_facts())[:16]
