"""The device to compute on when nobody says otherwise, and the memory in use."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import torch


def default_device() -> torch.device:
    """Return the first GPU that this process sees, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def peak_memory(device: torch.device) -> int:
    """Return the most bytes this process ever had: tensors on a GPU, or resident memory, PyTorch itself included."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    # Not ru_maxrss, where there is a choice: on Linux a new process inherits that of the one that started it.
    for line in status.read_text(encoding="ascii", errors="replace").splitlines() if status.exists() else []:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
