"""The contract of proxies: cheap scores that are hoped to rank architectures as their training on real data would."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn

from dp_core.data import ImageDataset
from dp_core.data.preprocessing import Preprocessing
from dp_core.device import default_device
from dp_core.distillation import DistilledSet
from dp_core.distillation.base import standardisation_of
from dp_core.judging import calibration_images
from dp_core.models import ModelSpec, build
from dp_core.seeds import derive_seed, generator
from dp_core.training import TrainingData
from dp_core.training.data import in_network_space


@dataclass(frozen=True)
class Reading:
    """One value that a proxy has for an architecture, with all that it took to get it.

    Readings of one score overlap in cost where the work was shared: each says what it would cost to have it alone.

    Args:
        key: tells the readings of one proxy apart, such as "accuracy@30"; "" where there is only one.
        value: higher means that the architecture is expected to be better; a finite number.
        seconds: on the clock.
        processor_seconds: of this process's threads, which other work on the machine does not lengthen.
        image_gradients: images that went forward and backward.
        forward_images: images that went forward only.
    """

    key: str
    value: float
    seconds: float
    processor_seconds: float
    image_gradients: int
    forward_images: int


@dataclass(frozen=True, eq=False)
class ProxyInputs:
    """What proxies may look at: never a test image.

    Args:
        train: real training images.
        validation: real images held back from them; trained proxies are scored on these.
        sets: distilled sets by the names that proxies call them by.
        space: what real images go through; by default their standardisation, for which all of them are looked at.
        device: where to compute.
    """

    train: ImageDataset
    validation: ImageDataset
    sets: Mapping[str, DistilledSet] = field(default_factory=dict)
    space: Preprocessing | None = None
    device: torch.device = field(default_factory=default_device)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return self.train.image_shape

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.train.classes

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """What real images go through."""
        return self.space or standardisation_of(self.train)

    @cached_property
    def real(self) -> TrainingData:
        """All training images, to go through the preprocessing, on the device."""
        return TrainingData(self.train.images, self.train.labels, self.preprocessing).to(self.device)

    def held_back(self, preprocessing: Preprocessing) -> TrainingData:
        """Return the validation images, to go through the preprocessing that a network was trained behind."""
        return TrainingData(self.validation.images, self.validation.labels, preprocessing).to(self.device)

    def calibration(self, preprocessing: Preprocessing) -> TrainingData:
        """Return the training images on which norm statistics are estimated, likewise; see `judge`."""
        return calibration_images(self.train, preprocessing).to(self.device)

    def network(self, spec: ModelSpec, seed: int) -> nn.Module:
        """Return the untrained network, on the device; the same weights for the same seed, whichever proxy asks.

        Raises:
            UserError: it cannot be built for such images.
        """
        return build(spec, self.input_shape, self.classes, seed=derive_seed(seed, "judged network")).to(self.device)

    def batch(self, images: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return real training images, preprocessed, float [n, C, H, W], and labels, int64 [n], on the device.

        As many of each class as there can be, to within one; the same ones for the same seed. All images, if there
        are fewer.
        """
        indices = _balanced(self.train, images, generator(seed, "proxy batch"))
        pixels = in_network_space(self.train.images[indices].to(self.device), self.preprocessing)
        return pixels, self.train.labels[indices].to(self.device)


def _balanced(source: ImageDataset, images: int, draw: torch.Generator) -> Tensor:
    """Return indices of images drawn in turns: one of each class, in random order, then a second one of each."""
    turns = [
        members[torch.randperm(len(members), generator=draw)]
        for members in map(source.class_indices, range(source.classes))
    ]
    deepest = min(max(map(len, turns)), images)
    drawn = [
        turns[label][turn]
        for turn in range(deepest)
        for label in torch.randperm(source.classes, generator=draw).tolist()
        if turn < len(turns[label])
    ]
    return torch.stack(drawn[:images])


class Proxy(Protocol):
    """Scores an untrained architecture. A new one is a file with such a frozen dataclass and a line in PROXIES.

    Its fields are its settings, plain values that a config can hold.
    """

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the readings that every score has, in their order."""

    def check(self, inputs: ProxyInputs) -> None:
        """Raise UserError if such data can give no score, such as for a distilled set that is not there."""

    def score(self, spec: ModelSpec, inputs: ProxyInputs, seed: int) -> tuple[Reading, ...]:
        """Return a reading for each key.

        Deterministic in `seed` on one machine with one number of threads. Torch's global generators, and everything
        that `inputs` holds, are left as they were.

        Args:
            spec: the architecture.
            inputs: the data.
            seed: of initial weights, of images that are drawn, of data order and augmentation.

        Raises:
            UserError: the proxy cannot handle this architecture (says why); or it cannot be built.
        """


class Stopwatch:
    """Seconds on the clock and of the processor since it was made."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._start = self._now()

    def read(self) -> tuple[float, float]:
        """Return seconds on the clock and processor seconds; waits for the device first."""
        now = self._now()
        return now[0] - self._start[0], now[1] - self._start[1]

    def _now(self) -> tuple[float, float]:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter(), time.process_time()
