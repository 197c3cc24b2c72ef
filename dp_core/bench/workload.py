"""What is measured when the speed of training is, and the loop that does it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dp_core.bench.usual import UsualLoop
from dp_core.data.preprocessing import Standardisation
from dp_core.errors import UserError, nearest
from dp_core.models import ModelSpec, build
from dp_core.seeds import generator
from dp_core.training.compiling import NotCompiled
from dp_core.training.data import TrainingData
from dp_core.training.graph import CudaRecorder
from dp_core.training.loop import Training
from dp_core.training.recipe import Mode, Recipe

SHAPE, CLASSES = (3, 32, 32), 10  # CIFAR-10's

# The network's mode, and whether steps are to be CUDA graphs (None: the engine's choice).
_ENGINE: dict[str, tuple[Mode, bool | None]] = {
    "eager": ("eager", False),
    "fused": ("fused", False),
    "compiled": ("compiled", False),
    "auto": ("auto", None),
    "graph": ("eager", True),
}
MODES = ("usual", *_ENGINE)
"""`usual`, a loop without anything of the engine; the network `eager`, `fused` or `compiled`, each step launched
operation by operation; `auto`, as the engine chooses; on GPUs `graph`, the eager network with its steps as CUDA
graphs."""


class Unavailable(Exception):
    """A mode cannot be had on this machine or for this network; the text says why."""


@dataclass(frozen=True)
class Workload:
    """A training on random images of CIFAR-10's shape, and how it is measured.

    Attributes:
        model: the network.
        mode: one of `MODES`.
        batch_size: images a step.
        images: in the data set.
        augmentation: as a recipe's.
        optimizer: as a recipe's.
        repetitions: measurements, of which the median counts.
        threads: CPU threads; None leaves the choice to torch.
        shortest: seconds that a measurement of whole steps lasts at least.
    """

    model: ModelSpec
    mode: str
    batch_size: int = 256
    images: int = 2048
    augmentation: str = "none"
    optimizer: str = "sgd"
    repetitions: int = 5
    threads: int | None = None
    shortest: float = 0.5

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UserError(f"There is no mode '{self.mode}'.{nearest(self.mode, MODES)} Known: {', '.join(MODES)}.")
        for key in ("images", "repetitions", "threads"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise UserError(f"A benchmark needs {key} of at least 1, not {value}.")
        if self.threads is not None and self.threads > (os.cpu_count() or self.threads):
            raise UserError(f"A benchmark cannot use {self.threads} threads on a machine that has {os.cpu_count()}.")
        self.recipe()

    def recipe(self) -> Recipe:
        """Return the recipe: without an end, and in steps so small that random labels do no harm."""
        return Recipe(
            optimizer=self.optimizer,
            learning_rate=1e-4,
            schedule="constant",
            steps=10**9,
            batch_size=self.batch_size,
            augmentation=self.augmentation,
            mode="auto" if self.mode == "usual" else _ENGINE[self.mode][0],
        )

    def data(self, device: torch.device) -> TrainingData:
        """Return the images, uint8 on `device`, still to be standardised."""
        draw = generator(0, "benchmark")
        images = torch.randint(0, 256, (self.images, *SHAPE), dtype=torch.uint8, generator=draw)
        labels = torch.randint(0, CLASSES, (self.images,), generator=draw)
        return TrainingData(images, labels, Standardisation((0.5,) * 3, (0.25,) * 3)).to(device)

    def network(self, device: torch.device) -> nn.Module:
        """Return the network, always with the same weights."""
        return build(self.model, SHAPE, CLASSES, seed=0).to(device)

    def to_dict(self) -> dict[str, Any]:
        """Return a plain dict that `from_dict` reads back."""
        return asdict(self) | {"model": self.model.to_dict()}

    @staticmethod
    def from_dict(value: dict[str, Any]) -> Workload:
        """Read what `to_dict` wrote."""
        return Workload(**value | {"model": ModelSpec.from_dict(value["model"])})


class Loop(Protocol):
    """What can be measured: `Training`, and `UsualLoop`."""

    model: nn.Module
    step: int
    optimizer: torch.optim.Optimizer

    @property
    def network(self) -> Callable[[Tensor], Tensor]:
        """Maps images in the network's space to logits."""
        ...

    def prepare_step(self) -> tuple[Tensor, Tensor]:
        """Return images and labels of the coming step."""
        ...

    def apply_gradients(self) -> None:
        """Let the optimiser make its step."""
        ...

    def run(self, steps: int) -> float:
        """Do some steps; waits for the device."""
        ...


def open_loop(workload: Workload, data: TrainingData, *, steps: int) -> Loop:
    """Build network and loop on the data's device and do the first `steps` steps.

    After at least 4 of them kernels are chosen, compiled and, in mode `graph`, captured.

    Raises:
        Unavailable: the mode cannot be had.
        UserError: the network cannot be built, or does not fit the device's memory.
    """
    device = data.images.device
    model, recipe = workload.network(device), workload.recipe()
    if workload.mode == "usual":
        usual = UsualLoop(model, data, recipe, seed=0)
        usual.run(steps)
        return usual
    graphed = _ENGINE[workload.mode][1]
    if workload.mode == "graph" and device.type != "cuda":
        raise Unavailable("CUDA graphs need a GPU")
    recorder = None if device.type != "cuda" else _Observed() if graphed is not False else _Never()
    training = Training(model, data, recipe, seed=0, mask=None, recorder=recorder)
    if workload.mode == "fused" and training.network.mode != "fused":
        raise Unavailable("this network has no blocks that can be fused on this machine")
    with warnings.catch_warnings():
        warnings.simplefilter("error", NotCompiled)
        try:
            training.run(steps)
        except NotCompiled as warning:
            raise Unavailable(warning.reason) from None
    if workload.mode == "compiled" and training.network.mode != "compiled":
        raise Unavailable("WINNOW_COMPILE=0 turns compiling off")
    if graphed and not (isinstance(recorder, _Observed) and recorder.captured):
        raise Unavailable("a step of this network cannot be recorded as a CUDA graph")
    return training


class _Observed(CudaRecorder):
    """Knows whether a step could be captured."""

    captured = False

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        replay = super().capture(function)
        self.captured = True
        return replay


class _Never:
    """Records nothing, so that every step is launched operation by operation."""

    def aside(self) -> AbstractContextManager[None]:
        return nullcontext()

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        raise RuntimeError("graphs are not wanted")
