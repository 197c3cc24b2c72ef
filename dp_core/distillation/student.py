"""A few steps on synthetic images that are to move a network as real ones did: what all forms of matching share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from dp_core.data import ImageDataset
from dp_core.data.registry import AUGMENTATIONS
from dp_core.distillation.broken import Broken, smaller
from dp_core.distillation.inner_gradient import InnerGradient, InnerMode, check_differentiable
from dp_core.distillation.iterative import IterativeDistiller, Task
from dp_core.distillation.learned_rate import LearnedRate
from dp_core.distillation.synthetic import Synthetic
from dp_core.distillation.unrolling import Batch, Parameters, Unrolled
from dp_core.errors import UserError
from dp_core.models import ModelSpec, build
from dp_core.seeds import derive_seed, generator

# Iterations for each architecture from which on compiling, some half a minute, is worth it.
_WORTH_COMPILING = 30


@dataclass(frozen=True, kw_only=True)
class MatchingDistiller(IterativeDistiller):
    """A distiller that unrolls steps of SGD on the synthetic images, at a rate that is learned with them."""

    exact: ClassVar[bool] = True

    steps: int = 30
    """Steps on the synthetic images that are unrolled, at least 1."""
    batch_size: int = 256
    """Synthetic images a step, drawn anew for each; all of them where there are fewer."""
    learned_rate_start: float = 1e-3
    """Where the learned rate α starts, above 0 (the authors: 0.001 for CIFAR-10, 0.01 for CIFAR-100)."""
    learned_rate_rate: float = 1e-5
    """The learning rate of α itself, above 0: a gradient g changes α by learned_rate_rate · g, for as long as that is
    little beside α, and never to 0 or below (see LearnedRate)."""
    mode: Literal["auto", "eager", "compiled"] = "auto"
    """How second derivatives are computed: `eager` in float32; `compiled`, with convolutions in bfloat16 where the
    device has units for it; `auto` compiles where there are enough iterations for each architecture to pay for it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("steps", "batch_size"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        self._require_positive("learned_rate_start", "learned_rate_rate")
        if self.mode not in ("auto", "eager", "compiled"):
            raise UserError(f"{self.method} has no mode '{self.mode}'. Known: auto, eager, compiled.")

    def learned_rate(self) -> LearnedRate | None:
        """See IterativeDistiller."""
        return LearnedRate(self.learned_rate_start, self.learned_rate_rate, self.optimizer)

    @property
    def step_sizes(self) -> dict[str, float]:
        """See IterativeDistiller."""
        return {**super().step_sizes, "learned_rate_rate": self.learned_rate_rate}

    def check_networks(self, specs: list[ModelSpec], source: ImageDataset) -> None:
        """Raise UserError if the gradient of one of a user's own networks cannot be differentiated again."""
        for spec in specs:
            check_differentiable(spec, source.image_shape, source.classes)


class Student:
    """Does the steps on the synthetic images, and finds what those would have to be to come closer to a goal.

    Attributes:
        image_gradients: see Objective.

    Args:
        settings: of the distiller.
        task: of the distillation.
        kinds: number of architectures that it will meet.
    """

    def __init__(self, settings: MatchingDistiller, task: Task, kinds: int) -> None:
        self.image_gradients = 0
        self._settings, self._task = settings, task
        self._augment = AUGMENTATIONS[settings.augmentation]
        worth = settings.minutes is not None or settings.iterations >= _WORTH_COMPILING * kinds
        self._mode: InnerMode = (
            "compiled" if settings.mode == "compiled" or (settings.mode == "auto" and worth) else "eager"
        )
        self._inner: dict[str, InnerGradient] = {}

    def match(
        self,
        synthetic: Synthetic,
        iteration: int,
        spec: ModelSpec,
        begin: Parameters,
        goal: Parameters,
        length: float,
        way: str,
    ) -> float:
        """Set the gradients of the leaves of `synthetic` and return ‖θ_steps − goal‖² / `length`.

        Args:
            synthetic: what the steps are on, with a learned rate.
            iteration: counted from 0.
            spec: the network.
            begin: θ_0 by name.
            goal: θ* by name.
            length: ‖begin − goal‖², above 0.
            way: what is matched, for errors.

        Raises:
            Broken: the steps lead to weights that are not finite.
        """
        settings = self._settings
        assert synthetic.rate is not None
        rate = synthetic.rate.value
        unrolled = Unrolled(
            self.inner_gradient(spec, synthetic.images.device),
            begin,
            rate,
            lambda step: self._batch(synthetic, iteration, step),
            settings.steps,
            exact=settings.exact,
        )
        loss, direction = matching_loss(unrolled.end, goal, length)
        if not math.isfinite(loss):
            raise Broken(
                f"{settings.steps} steps on the synthetic images at the learned rate {rate:.3g}, to match {way}, lead "
                f"to weights that are not finite",
                smaller("learned_rate_rate", "image_rate") if iteration else smaller("learned_rate_start"),
            )
        for gradient in unrolled.pull_back(direction):
            gradient.backward()
        synthetic.rate.follow(unrolled.rate_gradient)
        self.image_gradients += unrolled.image_gradients
        return loss

    def inner_gradient(self, spec: ModelSpec, device: torch.device) -> InnerGradient:
        """Return the gradients of a network."""
        label = spec.label()
        if label not in self._inner:
            source = self._task.source
            seed = derive_seed(self._task.seed, "shape")
            model = build(spec, source.image_shape, source.classes, seed=seed).to(device)
            self._inner[label] = InnerGradient(model, mode=self._mode)
        return self._inner[label]

    def _batch(self, synthetic: Synthetic, iteration: int, step: int) -> Batch:
        """Return the synthetic images of a step: shuffled passes over the set, augmented."""
        count, size = len(synthetic.images), min(self._settings.batch_size, len(synthetic.images))
        images, labels = synthetic.images, synthetic.targets()
        if size < count:
            passed, place = divmod(step, count // size)
            order = torch.randperm(count, generator=generator(self._task.seed, "batches", iteration, passed))
            chosen = order[place * size : (place + 1) * size].to(images.device)
            images, labels = images[chosen], labels[chosen]
        return Batch(self._augment(images, generator(self._task.seed, "augmentation", iteration, step)), labels)


def matching_loss(end: Parameters, goal: Parameters, length: float) -> tuple[float, dict[str, Tensor]]:
    """Return ‖end − goal‖² / `length` over all parameters, and its gradient by `end`."""
    away = {name: end[name] - goal[name] for name in goal}
    distance = sum(value.detach().square().sum().item() for value in away.values())
    return distance / length, {name: 2 * value / length for name, value in away.items()}
