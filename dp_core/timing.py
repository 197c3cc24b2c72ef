"""Seconds and bytes of work on a device."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch


def now(device: torch.device) -> float:
    """Return the time in seconds, of a clock of its own, at which everything asked of `device` so far is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def seconds_each(
    work: Callable[[int], object], device: torch.device, *, repetitions: int, shortest: float, least: int = 1
) -> list[float]:
    """Return the seconds that one piece of work takes, measured `repetitions` times.

    Args:
        work: does as many pieces in a row as it is told.
        device: that it is done on.
        repetitions: measurements, after two that only warm up and tell how long a piece takes.
        shortest: seconds that a measurement should last at least: short pieces are measured many at a time.
        least: pieces of a measurement, at least.
    """
    for _ in range(2):
        piece = _seconds(work, least, device)
    pieces = max(least, math.ceil(shortest / piece))
    return [_seconds(work, pieces, device) for _ in range(repetitions)]


def _seconds(work: Callable[[int], object], pieces: int, device: torch.device) -> float:
    started = now(device)
    work(pieces)
    return (now(device) - started) / pieces
