"""Trajectory matching, MTT (Cazenavette et al., CVPR 2022, arXiv 2203.11932)."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from dp_core.data import ImageDataset
from dp_core.data.registry import AUGMENTATIONS
from dp_core.distillation.broken import Broken, smaller
from dp_core.distillation.experts import ExpertBuffer, ExpertLibrary, ExpertPlan
from dp_core.distillation.inner_gradient import InnerGradient, InnerMode, check_differentiable
from dp_core.distillation.iterative import IterativeDistiller, Task
from dp_core.distillation.learned_rate import LearnedRate
from dp_core.distillation.running import Objective, Outcome
from dp_core.distillation.synthetic import Synthetic
from dp_core.distillation.unrolling import Batch, Parameters, Unrolled
from dp_core.errors import UserError, nearest
from dp_core.models import ARCHITECTURES, ModelSpec, build
from dp_core.seeds import derive_seed, generator

# Iterations for each architecture from which on compiling, some half a minute, is worth it.
_WORTH_COMPILING = 30

_EXPERT_SETTINGS = tuple(name for name in asdict(ExpertPlan()) if name not in ("models", "seed"))
# What may be given for a setting of each type, and what it is called.
_TYPES: Mapping[type, tuple[tuple[type, ...], str]] = {
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str,), "a text"),
}


@dataclass(frozen=True, kw_only=True)
class TrajectoryMatching(IterativeDistiller):
    """Let a few steps on the synthetic images move a network to where epochs on real data moved it.

    An expert is a network trained on real data, of which the parameters θ* after every epoch are kept. Every iteration
    draws an expert and an epoch t, starts at θ_0 = θ*_t, takes `steps` steps of SGD on the synthetic images at the
    learned rate α, and goes down the gradient of ‖θ_steps − θ*_{t+M}‖² / ‖θ*_t − θ*_{t+M}‖² (the paper's Eq. 2), with M
    the `expert_epochs`. The gradient goes back through all steps exactly, with the activations of one at a time in
    memory (see `unrolling`). With several `architectures` each expert is of a drawn one.

    The defaults are the authors' for CIFAR-10 with 10 images a class, but for fewer experts and iterations. Experts are
    shared by sets, so that the `cost` in a card is without them; what training them took stands beside it.
    """

    method: ClassVar[str] = "trajectory_matching"
    exact: ClassVar[bool] = True

    iterations: int = 5000
    """Steps on the images, at least 1."""
    image_rate: float = 1000.0
    """Learning rate of the images, above 0 (the authors: 100 for one image a class, 1000 else)."""
    steps: int = 30
    """Steps on the synthetic images that are unrolled, at least 1."""
    batch_size: int = 256
    """Synthetic images a step, drawn anew for each; all of them where there are fewer."""
    expert_epochs: int = 2
    """Epochs M of the expert that the steps are to make up for, at least 1."""
    min_start_epoch: int = 0
    """First of the epochs t that a match may start from."""
    max_start_epoch: int = 20
    """Epoch before which a match has to start: t is below it."""
    learned_rate_start: float = 1e-3
    """Where the learned rate α starts, above 0 (the authors: 0.001 for CIFAR-10, 0.01 for CIFAR-100)."""
    learned_rate_rate: float = 1e-5
    """The learning rate of α itself, above 0: a gradient g changes α by learned_rate_rate · g, for as long as that is
    little beside α, and never to 0 or below (see LearnedRate)."""
    experts: Mapping[str, Any] = field(default_factory=dict)
    """How the experts are made: `experts` (their number), `epochs` and other settings of ExpertPlan."""
    mode: Literal["auto", "eager", "compiled"] = "auto"
    """How second derivatives are computed: `eager` in float32; `compiled`, with convolutions in bfloat16 where the
    device has units for it; `auto` compiles where there are enough iterations for each architecture to pay for it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("steps", "batch_size", "expert_epochs"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        self._require_positive("learned_rate_start", "learned_rate_rate")
        if not 0 <= self.min_start_epoch < self.max_start_epoch:
            raise UserError(
                f"{self.method} needs start epochs from 0 on, min_start_epoch below max_start_epoch, not "
                f"{self.min_start_epoch} and {self.max_start_epoch}."
            )
        if self.mode not in ("auto", "eager", "compiled"):
            raise UserError(f"{self.method} has no mode '{self.mode}'. Known: auto, eager, compiled.")
        for name, value in self.experts.items():
            self._check_of_experts(name, value)
        last = self.max_start_epoch - 1 + self.expert_epochs
        if self.plan(0).epochs < last:
            raise UserError(
                f"{self.method} matches up to epoch {last}, but its experts are trained for "
                f"{self.plan(0).epochs}: raise experts.epochs or lower max_start_epoch."
            )

    def _check_of_experts(self, name: str, value: Any) -> None:
        """Raise UserError unless the experts have such a setting, and it is of this type."""
        if name not in _EXPERT_SETTINGS:
            raise UserError(
                f"{self.method} has no setting '{name}' of its experts.{nearest(name, _EXPERT_SETTINGS)} "
                f"Known: {', '.join(_EXPERT_SETTINGS)}."
            )
        types, wanted = _TYPES[type(getattr(ExpertPlan(), name))]
        if isinstance(value, bool) or not isinstance(value, types):
            raise UserError(f"{self.method} needs {wanted} as {name} of its experts, not {value!r}.")

    def learned_rate(self) -> LearnedRate | None:
        """See IterativeDistiller."""
        return LearnedRate(self.learned_rate_start, self.learned_rate_rate, self.optimizer)

    @property
    def step_sizes(self) -> dict[str, float]:
        """See IterativeDistiller."""
        return {**super().step_sizes, "learned_rate_rate": self.learned_rate_rate}

    def plan(self, seed: int) -> ExpertPlan:
        """Return how the experts of a distillation with `seed` are made."""
        plan = ExpertPlan(**self.experts, seed=seed)
        pool = self.pool
        count = plan.experts if pool.size > 1 else 1
        specs = [pool.draw(seed, "expert", number).to_dict() for number in range(count)]
        return ExpertPlan(**self.experts, models=tuple(specs), seed=seed)

    def check(self, source: ImageDataset, images_per_class: int) -> None:
        """See Distiller."""
        super().check(source, images_per_class)
        plan = self.plan(0)
        plan.check(source)
        for spec in plan.specs:
            if spec.name not in ARCHITECTURES:
                check_differentiable(spec, source.image_shape, source.classes)

    def epochs_at(self, iteration: int) -> tuple[int, int]:
        """Return the first epoch that a match of this iteration may start from, and the one that it may not."""
        return self.min_start_epoch, self.max_start_epoch

    def objective(self, task: Task) -> Objective:
        """See IterativeDistiller; trains the experts that are missing."""
        return Matching(self, task)

    def _provenance(self, task: Task, outcome: Outcome) -> dict[str, Any]:
        experts = self.plan(task.seed).image_gradients(len(task.source))
        return super()._provenance(task, outcome) | {"experts": {"image_gradients": experts}}


class Matching:
    """The objective of trajectory matching, for all of its forms."""

    def __init__(self, settings: TrajectoryMatching, task: Task) -> None:
        self.image_gradients = 0
        self._settings, self._task = settings, task
        self._augment = AUGMENTATIONS[settings.augmentation]
        plan = settings.plan(task.seed)
        self.experts = self._buffer(plan)
        distinct = {self.experts.spec(number).label() for number in range(plan.experts)}
        worth = settings.iterations >= _WORTH_COMPILING * len(distinct)
        self._mode: InnerMode = (
            "compiled" if settings.mode == "compiled" or (settings.mode == "auto" and worth) else "eager"
        )
        self._inner: dict[str, InnerGradient] = {}

    def _buffer(self, plan: ExpertPlan) -> ExpertBuffer:
        workspace = self._task.workspace
        folder = workspace.experts
        if folder is None:  # experts that nobody wants to keep
            self._temporary = tempfile.TemporaryDirectory(prefix="winnow-experts-")
            folder = Path(self._temporary.name)
        library = ExpertLibrary(folder)
        return library.get(plan, self._task.source, self._task.space, progress=_unheard, say=workspace.say)

    def __call__(self, synthetic: Synthetic, iteration: int, scale: float) -> float:
        """See Objective."""
        settings, task, device = self._settings, self._task, synthetic.images.device
        assert synthetic.rate is not None
        draws = generator(task.seed, "match", iteration)
        expert = int(torch.randint(len(self.experts), (), generator=draws))
        low, high = settings.epochs_at(iteration)
        start = int(torch.randint(low, high, (), generator=draws))
        begin = self.experts.parameters(expert, start, device)
        goal = self.experts.parameters(expert, start + settings.expert_epochs, device)
        way = f"expert {expert} from epoch {start} to {start + settings.expert_epochs}"
        length = squared_distance(begin, goal, way)
        rate = synthetic.rate.value
        unrolled = Unrolled(
            self._inner_gradient(self.experts.spec(expert), device),
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

    def _inner_gradient(self, spec: ModelSpec, device: torch.device) -> InnerGradient:
        label = spec.label()
        if label not in self._inner:
            source = self._task.source
            seed = derive_seed(self._task.seed, "shape")
            model = build(spec, source.image_shape, source.classes, seed=seed).to(device)
            self._inner[label] = InnerGradient(model, mode=self._mode)
        return self._inner[label]

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: an iteration depends on seed and number alone."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Do nothing, see `state_dict`."""


def squared_distance(begin: Parameters, goal: Parameters, way: str) -> float:
    """Return ‖begin − goal‖² over all parameters.

    Raises:
        UserError: it is 0 or not finite; `way` says of which expert and epochs.
    """
    length = sum((begin[name] - goal[name]).square().sum().item() for name in goal)
    if length == 0:
        raise UserError(f"There is nothing to match where {way} did not move: raise experts.learning_rate.")
    if not math.isfinite(length):
        raise UserError(
            f"The parameters of {way} are not finite: remove its folder, to have it trained again, "
            f"or lower experts.learning_rate."
        )
    return length


def matching_loss(end: Parameters, goal: Parameters, length: float) -> tuple[float, dict[str, Tensor]]:
    """Return ‖end − goal‖² / `length` over all parameters, and its gradient by `end`."""
    away = {name: end[name] - goal[name] for name in goal}
    distance = sum(value.detach().square().sum().item() for value in away.values())
    return distance / length, {name: 2 * value / length for name, value in away.items()}


def _unheard(done: int, total: int, loss: float) -> None:
    """Take the experts' progress: their sentences are enough beside the distillation's own."""
