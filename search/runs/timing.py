"""How long work takes on this machine, found by doing a little of it: steps and passes of networks, and distilling."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

import torch

from dp_core.data import ImageDataset, Splits
from dp_core.data.preprocessing import Preprocessing
from dp_core.distillation import Distiller, TrajectoryMatching, Workspace
from dp_core.distillation.iterative import IterativeDistiller
from dp_core.errors import UserError
from dp_core.judging import CALIBRATION_IMAGES, gathers_statistics
from dp_core.models import ModelSpec, build
from dp_core.training import Recipe, Training, TrainingData, evaluate
from trainables.trials.device import claim_device

_STEPS = 5
_SLOW = 2
"""Iterations of a distillation in which much is done once."""
_LOOKED_AT = 256
"""Images of the pass that evaluation is timed by."""

_PATIENCE = 4
"""How often its time a distillation may take until some iterations beside these have been done."""


@dataclass(frozen=True)
class Speed:
    """How fast a network is.

    Attributes:
        step: seconds of a step of training.
        image: seconds of one image of an evaluation.
        calibration: images that its norms see before each evaluation, see `judge`.
    """

    step: float
    image: float
    calibration: int = 0

    def judged(self, images: int) -> float:
        """Return the seconds of an evaluation on so many images."""
        return (self.calibration + images) * self.image


@contextmanager
def trial_threads(threads: int) -> Iterator[torch.device]:
    """Compute with as many threads as a trial has, on the device that a trial would have here."""
    before = torch.get_num_threads()
    try:
        yield claim_device(threads)
    finally:
        torch.set_num_threads(before)


def speed_of(
    spec: ModelSpec, recipe: Recipe, train: ImageDataset, space: Preprocessing, images: int, device: torch.device
) -> Speed:
    """Return how fast a network trains by a recipe on so many images, from its third step on."""
    few = torch.arange(min(max(images, 1), recipe.batch_size, len(train)))
    data = TrainingData(train.images[few], train.labels[few], space).to(device)
    looked = TrainingData(train.images[:_LOOKED_AT], train.labels[:_LOOKED_AT], space).to(device)
    model = build(spec, train.image_shape, train.classes, seed=0).to(device)
    # Nothing is compiled for it: what a trial compiles, it compiles to be faster than this.
    mode = "auto" if recipe.mode == "compiled" else recipe.mode
    short = replace(recipe, steps=2 + _STEPS, epochs=None, mode=mode)
    training = Training(model, data, short, seed=0, mask=None)
    training.run(2)
    steps = [_seconds(lambda: training.run(1)) for _ in range(_STEPS)]
    evaluated = _seconds(lambda: evaluate(model, looked, precision=recipe.precision, mode=mode))
    calibration = CALIBRATION_IMAGES if gathers_statistics(model) else 0
    return Speed(median(steps), evaluated / len(looked), calibration)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


class _Enough(Exception):
    """What is being timed has gone on for long enough."""


def distilling_seconds(
    distiller: Distiller, splits: Splits, images_per_class: int, seed: int, within: float
) -> float | None:
    """Return how long making a set takes, by the iterations that it does `within` so many seconds or a little longer.

    None where something else is to be made first, such as experts, whose number tells nothing of the set's, and where
    it fails, which it will say when it is made.
    """
    stepping = distiller if isinstance(distiller, IterativeDistiller) else None
    if stepping is not None and stepping.minutes is not None:
        return 60 * stepping.minutes
    wanted = None if stepping is None else stepping.iterations
    if isinstance(distiller, TrajectoryMatching):
        return None
    told: list[tuple[int, int, float]] = []  # iterations done, iterations in all, when

    def progress(done: int, total: int, loss: float) -> None:
        told.append((done, total, time.perf_counter()))
        spent = told[-1][2] - started
        if spent > _PATIENCE * within or (spent > within and len(told) > _SLOW + 2):
            raise _Enough

    workspace = Workspace(progress=progress, validation=splits.validation)
    started = time.perf_counter()
    try:
        distiller.distill(splits.train, images_per_class, seed, workspace)
    except _Enough:
        _, total, _ = told[-1]
        paces = [(now - then) / max(done - before, 1) for (before, _, then), (done, _, now) in pairwise(told)]
        pace = median(paces[_SLOW - 1 :] or paces or [told[0][2] - started])
        return pace * total if wanted in (None, total) else None
    except (UserError, RuntimeError):
        return None
    return time.perf_counter() - started
