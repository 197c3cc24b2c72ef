"""The device, and the memory in use."""

from __future__ import annotations

import torch

from dp_core.device import peak_memory

CPU = torch.device("cpu")


def test_peak_memory_grows_with_what_is_touched() -> None:
    before = peak_memory(CPU)
    held = torch.ones(before // 4)  # float32: as many bytes again
    assert peak_memory(CPU) >= held.numel() * 4
    assert peak_memory(CPU) >= before
