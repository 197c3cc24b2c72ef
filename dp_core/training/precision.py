"""Which number format and memory layout a network trains in on a device."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

Precision = Literal["auto", "float32", "bfloat16"]


def uses_bfloat16(precision: Precision, model: nn.Module, device: torch.device) -> bool:
    """Return whether `model` trains under bfloat16 autocast (with channels-last memory) on `device`.

    `auto` answers yes on GPUs with bfloat16 units and on CPUs with AMX, there only for networks without group or
    layer norm: those run in float32 inside autocast, and the casts around them cost more than the convolutions gain.
    """
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    slow = any(isinstance(module, nn.GroupNorm | nn.LayerNorm) for module in model.modules())
    return device.type == "cpu" and not slow and bool(torch.cpu._is_amx_tile_supported())
