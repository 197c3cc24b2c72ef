"""Where the time of an epoch goes."""

from __future__ import annotations

import statistics

import torch
import torch.nn.functional as F

from dp_core.bench.usual import UsualLoop
from dp_core.bench.workload import Loop
from dp_core.timing import now, seconds_each
from dp_core.training.data import TrainingData
from dp_core.training.evaluation import evaluate
from dp_core.training.loop import Training

EVALUATED_SHARE = 0.1
"""Images evaluated after each epoch for each image trained on: a validation split of a tenth."""

_PARTS = ("data", "forward", "backward", "optimizer")


def shares_of_epoch(
    loop: Loop, data: TrainingData, batch_size: int, *, steps: int, repetitions: int
) -> dict[str, float]:
    """Return the share of an epoch that data, forward, backward, optimizer and evaluation take; they sum to 1.

    An epoch is a pass of training over `data` and an evaluation of `EVALUATED_SHARE` as many images. The parts of
    training are timed one by one in `steps` steps that go on from where `loop` is (at least one step on its way),
    evaluation on all of `data`, `repetitions` times; medians of both count.
    """
    device = data.images.device
    seconds = {part: each * len(data) / batch_size for part, each in _part_seconds(loop, steps, device).items()}
    passes = seconds_each(lambda times: _evaluate(loop, data, times), device, repetitions=repetitions, shortest=0)
    seconds["evaluation"] = EVALUATED_SHARE * statistics.median(passes)
    total = sum(seconds.values())
    return {part: value / total for part, value in seconds.items()}


def _evaluate(loop: Loop, data: TrainingData, times: int) -> None:
    for _ in range(times):
        if isinstance(loop, UsualLoop):
            loop.evaluate(data)
        else:
            assert isinstance(loop, Training)
            evaluate(loop.model, data, precision=loop.recipe.precision, mode=loop.recipe.mode)


def _part_seconds(loop: Loop, steps: int, device: torch.device) -> dict[str, float]:
    """Do `steps` steps (and one before, that does not count) part by part; return each part's median seconds."""
    seconds: dict[str, list[float]] = {part: [] for part in _PARTS}
    loop.optimizer.zero_grad()
    for _ in range(steps + 1):
        times = [now(device)]
        images, labels = loop.prepare_step()
        times.append(now(device))
        loss = F.cross_entropy(loop.network(images), labels)
        times.append(now(device))
        loss.backward()
        times.append(now(device))
        loop.apply_gradients()
        loop.optimizer.zero_grad()
        times.append(now(device))
        loop.step += 1
        for part, start, end in zip(_PARTS, times, times[1:], strict=False):
            seconds[part].append(end - start)
    return {part: statistics.median(values[1:]) for part, values in seconds.items()}
