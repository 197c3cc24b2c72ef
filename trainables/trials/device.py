"""The device and the threads of a trial."""

from __future__ import annotations

import torch

from dp_core.device import default_device


def claim_device(threads: int) -> torch.device:
    """Limit this process to `threads` CPU threads and return the GPU that Ray gave it, or the CPU.

    Ray shows a worker only the GPUs of its own trial, so that k trials never take more than was reserved.
    """
    torch.set_num_threads(threads)
    return default_device()
