"""What distillers have in common that improve a set step by step along a gradient."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

import torch

from dp_core.data import ImageDataset
from dp_core.data.preprocessing import ZCA, Preprocessing
from dp_core.data.registry import AUGMENTATIONS
from dp_core.device import default_device, peak_memory
from dp_core.distillation.base import (
    HERE,
    Workspace,
    check_images_per_class,
    draw_images,
    pixels,
    provenance,
    standardisation_of,
)
from dp_core.distillation.broken import smaller
from dp_core.distillation.distilled_set import DistilledSet
from dp_core.distillation.identity import Identity
from dp_core.distillation.judging import few_step_accuracy
from dp_core.distillation.learned_rate import LearnedRate
from dp_core.distillation.length import Length
from dp_core.distillation.pool import Pool
from dp_core.distillation.running import Choice, Objective, Outcome, Running
from dp_core.distillation.synthetic import Synthetic
from dp_core.errors import UserError, nearest
from dp_core.files import digest_of_json
from dp_core.models.families import Architectures
from dp_core.seeds import generator
from dp_core.training.schedule import SCHEDULES
from dp_core.training.splitting import out_of_memory

Labels = Literal["hard", "learned"]

# Most values of an image that is whitened: the matrix of 64×64 colour images has 600 MB and takes half an hour.
_WHITENED = 4096
# Largest of a rate or penalty: those near the end of float32 are beyond it once an optimiser has corrected its bias.
_LARGEST = 1e30
# Deviations of real pixels from which on something must have gone wrong; the shipped sets reach six.
_FAR = 100
# What a state is judged by in a budget of time: so many validation images and steps at most.
_LOOKED_AT, _LOOK_STEPS = 500, 30
# Settings of one distiller or another that its memory grows with.
_TAKES_MEMORY = ("synthetic_images", "batch_size", "real_images")
# Networks of a pool that judge a state, where the pool has as many.
_JUDGES = 3


@dataclass(frozen=True)
class Task:
    """One set to be made: real images in [0, 255], the space it is to live in, ipc, seed, and where to work."""

    source: ImageDataset
    space: Preprocessing
    images_per_class: int
    seed: int
    workspace: Workspace


@dataclass(frozen=True, kw_only=True)
class IterativeDistiller(ABC):
    """Starts from random real images and follows the gradient of an objective; see `Running` for what surrounds it."""

    method: ClassVar[str]

    iterations: int = 1000
    """Steps on the images, at least 1."""
    minutes: float | None = None
    """Wall-clock minutes for a set, above 0, instead of `iterations`: the schedule goes by them, and of a few late
    states that one is kept whose set trains fresh networks to the highest validation accuracy."""
    image_rate: float = 1.0
    """Learning rate of the images, above 0."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    """What steps on the images: `sgd` with `momentum`, or `adam` (betas 0.9 and 0.99)."""
    momentum: float = 0.5
    """SGD's momentum on the images, from 0 to below 1."""
    schedule: str = "constant"
    """Of the images' and labels' rates: `constant`, `cosine`, `one_cycle` or `half_step`."""
    labels: Labels = "hard"
    """`hard`, or `learned`: soft labels that are optimised with the images, from 95 % certainty on."""
    label_rate: float = 0.01
    """The same optimiser's learning rate for learned labels (their logits), above 0."""
    augmentation: str = "siamese"
    """`siamese` (DSA), `flip_crop` or `none`; of real and synthetic images."""
    space: Literal["standardisation", "zca"] = "standardisation"
    """What the images live in: standardised channels, or ZCA-whitened images (its matrix is part of the set)."""
    zca_eps: float = 0.1
    """Added to the eigenvalues of the covariance of ZCA, above 0."""
    architectures: Architectures = field(default_factory=lambda: {"name": "convnet", "depth": 3, "width": 64})
    """The network that the set is made with: `name` and hyperparameters. A list of values (or `choice: [...]`) for a
    hyperparameter, or a list of networks, makes it a pool from which one is drawn at a time."""
    validate_every: int = 0
    """Iterations from one look at the validation images to the next: the state is kept whose set trains fresh networks
    to the highest validation accuracy. 0 keeps the last state."""
    validate_steps: int = 100
    """Steps that the fresh networks (up to three of the pool) are trained for at such a look, at least 1."""

    def __post_init__(self) -> None:
        for name, fine, wanted in (
            ("iterations", self.iterations >= 1, "at least 1"),
            ("momentum", 0 <= self.momentum < 1, "from 0 to below 1"),
            ("minutes", self.minutes is None or 0 < self.minutes < math.inf, "above 0"),
            ("validate_every", self.validate_every >= 0, "0 or more"),
            ("validate_steps", self.validate_steps >= 1, "at least 1"),
        ):
            self._require(name, fine, wanted)
        self._require_positive("image_rate", "label_rate", "zca_eps")
        for name, known in (
            ("optimizer", ("sgd", "adam")),
            ("schedule", tuple(SCHEDULES)),
            ("labels", ("hard", "learned")),
            ("augmentation", tuple(AUGMENTATIONS)),
            ("space", ("standardisation", "zca")),
        ):
            value = getattr(self, name)
            if value not in known:
                raise UserError(
                    f"{self.method} has no {name} '{value}'.{nearest(str(value), known)} Known: {', '.join(known)}."
                )
        Pool.of(self.architectures)

    def _require(self, name: str, fine: bool, wanted: str) -> None:
        if not fine:
            raise UserError(f"{self.method} needs {name} {wanted}, not {getattr(self, name)}.")

    def _require_positive(self, *names: str) -> None:
        for name in names:
            self._require(name, getattr(self, name) > 0, "above 0")
            self._require(name, getattr(self, name) <= _LARGEST, f"at most {_LARGEST:g}")

    @abstractmethod
    def objective(self, task: Task) -> Objective:
        """Return what is minimised; networks, buffers and whatever else it needs are made here."""

    def prepare(self, synthetic: Synthetic, objective: Objective, task: Task) -> None:  # noqa: B027 - most need none
        """Change what a distillation starts from."""

    def learned_rate(self) -> LearnedRate | None:
        """Return the learning rate that is learned with the images, at its start; None if the method learns none."""
        return None

    @property
    def step_sizes(self) -> dict[str, float]:
        """The settings that say how large steps are: they may be changed on the way, and are halved together."""
        return {"image_rate": self.image_rate, **({"label_rate": self.label_rate} if self.labels == "learned" else {})}

    @property
    def pool(self) -> Pool:
        """The networks that the set is made with."""
        return Pool.of(self.architectures)

    @property
    def looks(self) -> bool:
        """Whether the state that is kept is chosen by validation images, where there are any."""
        return self.validate_every > 0 or self.minutes is not None

    def settings(self) -> dict[str, Any]:
        """See Distiller."""
        given = _plain(asdict(self))
        if self.minutes is None:  # so that sets are what they were before there was this setting
            del given["minutes"]
        return {"method": self.method, **given}

    def check(self, source: ImageDataset, images_per_class: int) -> None:
        """See Distiller."""
        check_images_per_class(source, images_per_class)
        values = source.images[0].numel()
        if self.space == "zca" and values > _WHITENED:
            raise UserError(
                f"Whitening (space zca) is for images of up to {_WHITENED} values, not for {values}: "
                f"take the space standardisation."
            )
        self.pool.check(source.image_shape, source.classes)

    def distill(
        self, source: ImageDataset, images_per_class: int, seed: int, workspace: Workspace = HERE
    ) -> DistilledSet:
        """See Distiller.

        Raises:
            UserError: the memory of the device does not suffice.
        """
        began = time.perf_counter()
        self.check(source, images_per_class)
        try:
            return self._distilled(source, images_per_class, seed, workspace, began)
        except (MemoryError, RuntimeError) as error:
            if not (isinstance(error, MemoryError) or out_of_memory(error)):
                raise
            count, shape = images_per_class * source.classes, "×".join(map(str, source.image_shape))
            fewer = [name for name in _TAKES_MEMORY if hasattr(self, name)]
            raise UserError(
                f"The memory of {default_device()} does not suffice for {self.method} with {count} images of {shape}: "
                f"take smaller architectures, a lower {' or '.join(fewer)}, or fewer images a class."
            ) from error

    def _distilled(
        self, source: ImageDataset, images_per_class: int, seed: int, workspace: Workspace, began: float
    ) -> DistilledSet:
        if self.validate_every and workspace.validation is None:
            raise UserError(f"{self.method} needs validation images where validate_every is {self.validate_every}.")
        space = self._space(source)
        task = Task(source, space, images_per_class, seed, workspace)
        chosen = draw_images(source, images_per_class, generator(seed, "initial images"))
        synthetic = Synthetic(
            space(pixels(source, chosen)).to(default_device()),
            source.labels[chosen],
            source.classes,
            learn_labels=self.labels == "learned",
            rate=self.learned_rate(),
        )
        objective = self.objective(task)
        self.prepare(synthetic, objective, task)
        running = Running(
            synthetic,
            objective,
            self.build_optimizer(synthetic),
            lambda: self._sizes(synthetic, images_per_class),
            Length(self.iterations, None if self.minutes is None else 60 * self.minutes),
            SCHEDULES[self.schedule],
            self._choice(task) if self._judged(task) else None,
            self._identity(task),
            workspace,
            began=None if self.minutes is None else began,
        )
        outcome = running.run(
            lambda done: workspace.snapshot(done, self._result(synthetic, task, {"iterations_done": done}))
        )
        made = self._result(synthetic, task, self._provenance(task, outcome))
        if (largest := made.images.abs().max().item()) > _FAR:
            workspace.say(
                f"the images have values of up to {largest:,.0f}, where those of real ones have a deviation of 1: "
                f"they are hardly images any more, so take {smaller('image_rate')}"
            )
        return made

    def build_optimizer(self, synthetic: Synthetic) -> torch.optim.Optimizer:
        """Return the optimiser, with a group "images" and others for learned labels and learning rate."""
        groups: list[dict[str, Any]] = [{"params": [synthetic.images], "name": "images"}]
        if synthetic.logits is not None:
            groups.append({"params": [synthetic.logits], "name": "labels"})
        if synthetic.rate is not None:
            groups.append({"params": [synthetic.rate.leaf], "name": "rate"})
        if self.optimizer == "adam":
            return torch.optim.Adam(groups, betas=(0.9, 0.99))
        return torch.optim.SGD(groups, momentum=self.momentum)

    def _sizes(self, synthetic: Synthetic, images_per_class: int) -> dict[str, float]:
        """Return the learning rate that each group of the optimiser has now."""
        learned = {} if synthetic.rate is None else {"rate": synthetic.rate.size}
        return {"images": self.scaled_image_rate(images_per_class), "labels": self.label_rate, **learned}

    def scaled_image_rate(self, images_per_class: int) -> float:
        """Return the rate of the images for a set of `images_per_class`."""
        return self.image_rate

    def _identity(self, task: Task) -> Identity:
        settings = self.settings()
        others = [task.source.digest, task.images_per_class, task.seed, self._validation_digest(task)]
        lasting = {name: value for name, value in settings.items() if name not in self.step_sizes}
        return Identity(digest_of_json([settings, *others]), digest_of_json([lasting, *others]), self.step_sizes)

    def _judged(self, task: Task) -> bool:
        """Return whether the state that is kept is chosen by validation images."""
        return task.workspace.validation is not None and self.looks

    def _validation_digest(self, task: Task) -> str | None:
        validation = task.workspace.validation
        return validation.digest if validation is not None and self._judged(task) else None

    def _space(self, source: ImageDataset) -> Preprocessing:
        if self.space == "standardisation":
            return standardisation_of(source)
        return ZCA.fit(source.images.float().div_(255), self.zca_eps)

    def _choice(self, task: Task) -> Choice:
        validation, pool, steps = task.workspace.validation, self.pool, self.validate_steps
        assert validation is not None
        if not self.validate_every:  # in a budget of time, of which little may be spent on looking
            some = torch.randperm(len(validation), generator=generator(task.seed, "judging images"))[:_LOOKED_AT]
            validation, steps = validation.select(some), min(steps, _LOOK_STEPS)
        networks = [pool.draw(task.seed, "judge", index) for index in range(min(_JUDGES, pool.size))]

        def score(synthetic: Synthetic) -> float:
            made = self._result(synthetic, task, {})
            accuracies = [
                few_step_accuracy(made, validation, network, steps, task.seed, train=task.source)
                for network in networks
            ]
            return sum(accuracies) / len(accuracies)

        return Choice(score, self.validate_every or None)

    def _result(self, synthetic: Synthetic, task: Task, made: dict[str, Any]) -> DistilledSet:
        return synthetic.distilled(task.space, task.source.class_names, made)

    def _provenance(self, task: Task, outcome: Outcome) -> dict[str, Any]:
        made = provenance(
            self.settings(),
            task.source,
            task.seed,
            seconds=outcome.seconds,
            image_gradients=outcome.image_gradients,
        )
        last = outcome.losses[-min(100, len(outcome.losses)) :]
        return made | {
            "matching_loss": sum(last) / len(last),
            "divergences": outcome.divergences,
            "earlier_step_sizes": list(outcome.changes),
            "kept_iteration": outcome.iteration,
            "validation_accuracy": outcome.score,
            "validation_digest": self._validation_digest(task),
            "peak_memory_bytes": peak_memory(default_device()),
        }


def _plain(value: Any) -> Any:
    """Return `value` as JSON has it, so that settings are the same before and after they were written."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value
