"""Which number format a network computes in on a device."""

from __future__ import annotations

import torch

from dp_core.training.recipe import Precision


def uses_bfloat16(precision: Precision, device: torch.device, *, unfit: bool) -> bool:
    """Return whether a network computes under bfloat16 autocast (with channels-last memory) on `device`.

    `auto` answers yes on GPUs with bfloat16 units and on CPUs with AMX, there only if the network is not `unfit`. It is
    with group or layer norms that are neither fused nor compiled: those run in float32 inside autocast, and the casts
    around them cost more than the convolutions gain; and with bilinear layers, which fail. AVX-512's bfloat16 without
    AMX is not taken: with oneDNN held to it, fused bfloat16 was slower than fused float32 (ConvNet-3 w128 637 against
    864 images/s, AlexNet 150 against 233).
    """
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_amx_tile_supported()) and not unfit
