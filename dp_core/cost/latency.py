"""How long a network takes for one image."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
from torch import nn

from dp_core.timing import now
from dp_core.training.evaluation import evaluation_mode

WARM_UP_PASSES = 5
"""Passes that are not timed: the first ones allocate memory and choose algorithms."""


def latency_ms(
    model: nn.Module,
    input_shape: tuple[int, int, int],
    device: torch.device,
    *,
    repeats: int = 5,
    passes: int = 9,
    clock: Callable[[torch.device], float] = now,
) -> float:
    """Return the milliseconds of a forward pass of one image, in evaluation mode and without gradients.

    It is the smallest of `repeats` medians of `passes` passes each. Other work on the machine can only make a pass
    slower. Where it disturbs single passes the median passes over them, and where it lasts for a while the least
    disturbed repetition counts; the fastest single pass would be luck instead. On a CPU it is the latency with the
    threads that torch has in this process.

    Args:
        model: maps images [N, C, H, W] to anything; is moved to `device`, and its modes stay as they were.
        input_shape: channels, height, width of one image.
        device: what is measured; on a GPU every pass is waited for.
        repeats: how many medians there are, at least 1.
        passes: timed passes of a median, at least 1.
        clock: tells the time in seconds at which all work of the device is done.
    """
    parameter = next(model.to(device).parameters(), torch.empty(0))
    image = torch.zeros(1, *input_shape, device=device, dtype=parameter.real.dtype)
    with evaluation_mode(model), torch.inference_mode():
        for _ in range(WARM_UP_PASSES):
            model(image)
        medians = [
            statistics.median(_seconds(model, image, device, clock) for _ in range(passes)) for _ in range(repeats)
        ]
    return 1000 * min(medians)


def _seconds(
    model: nn.Module, image: torch.Tensor, device: torch.device, clock: Callable[[torch.device], float]
) -> float:
    started = clock(device)
    model(image)
    return clock(device) - started
