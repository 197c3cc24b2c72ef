from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import pytest
import torch
from torch import nn

from dp_core.cost import latency_ms
from dp_core.models import ModelSpec, build

CPU = torch.device("cpu")


def ticking(seconds: Iterable[float]) -> Callable[[torch.device], float]:
    """Return a clock under which the passes take these seconds."""
    times = itertools.accumulate(value for each in seconds for value in (0.0, each))
    return lambda device: next(times)


def measured(seconds: Iterable[float], *, repeats: int, passes: int) -> float:
    return latency_ms(nn.Conv2d(1, 1, 1), (1, 2, 2), CPU, repeats=repeats, passes=passes, clock=ticking(seconds))


def test_it_is_the_least_of_the_medians() -> None:
    # The medians are 5, 3 and 9 ms; the fastest pass, 1 ms, and the slowest, 900 ms, count for nothing.
    seconds = [0.004, 0.005, 0.9, 0.003, 0.001, 0.006, 0.009, 0.010, 0.002]
    assert measured(seconds, repeats=3, passes=3) == pytest.approx(3.0)


def test_work_beside_it_for_most_of_the_time_changes_nothing() -> None:
    calm, busy = [0.002] * 5, [0.02] * 5
    assert measured([*busy, *busy, *calm, *busy], repeats=4, passes=5) == pytest.approx(2.0)


class Watched(nn.Module):
    """Tells how it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, dtype=torch.float64))
        self.dropout = nn.Dropout()
        self.calls: list[tuple[tuple[int, ...], torch.dtype, bool, bool]] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls.append((tuple(images.shape), images.dtype, self.training, torch.is_inference_mode_enabled()))
        return images


def test_one_image_passes_in_evaluation_mode_and_the_first_passes_are_not_timed() -> None:
    model = Watched()
    model.dropout.eval()
    calls_at: list[int] = []

    def clock(device: torch.device) -> float:
        calls_at.append(len(model.calls))
        return float(len(calls_at))

    latency_ms(model, (3, 4, 5), CPU, repeats=2, passes=2, clock=clock)
    assert set(model.calls) == {((1, 3, 4, 5), torch.float64, False, True)}
    warm_up = calls_at[0]
    assert warm_up > 0
    assert calls_at == [warm_up + done for done in (0, 1, 1, 2, 2, 3, 3, 4)]
    assert (model.training, model.dropout.training) == (True, False)


def test_a_network_sixteen_times_as_wide_is_slower() -> None:
    narrow, wide = (
        build(ModelSpec("convnet", {"depth": 2, "width": width}), (3, 32, 32), 10, seed=0) for width in (8, 128)
    )
    # More than a hundred times the FLOPs; even beside other work that is not four times as fast.
    assert latency_ms(wide, (3, 32, 32), CPU) > 2 * latency_ms(narrow, (3, 32, 32), CPU)
