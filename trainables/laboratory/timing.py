"""Seconds spent, on the clock and by the processor."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import torch


@dataclass
class Stopwatch:
    """Adds up the time spent inside `running`.

    `seconds` are those of the clock; `processor_seconds` those that this process's threads computed, which other work
    on the machine does not lengthen (on a GPU they say little).
    """

    seconds: float = 0.0
    processor_seconds: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the time in the block, the device's work included."""
        clock, processor = time.perf_counter(), time.process_time()
        try:
            yield
            if torch.cuda.is_available():
                torch.cuda.synchronize()
        finally:
            self.seconds += time.perf_counter() - clock
            self.processor_seconds += time.process_time() - processor

    def so_far(self) -> dict[str, float]:
        """Return both as a plain dict; `Stopwatch(**value)` goes on from it."""
        return asdict(self)
