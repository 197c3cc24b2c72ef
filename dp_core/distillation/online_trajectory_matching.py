"""Trajectory matching (Cazenavette et al., CVPR 2022, arXiv 2203.11932) whose experts are trained while it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from dp_core.data import ImageDataset
from dp_core.device import default_device
from dp_core.distillation.base import pixels
from dp_core.distillation.broken import Broken, all_finite, smaller
from dp_core.distillation.iterative import Labels, Task
from dp_core.distillation.running import Objective
from dp_core.distillation.student import MatchingDistiller, Student
from dp_core.distillation.synthetic import Synthetic
from dp_core.models import build
from dp_core.models.families import Architectures
from dp_core.seeds import derive_seed, generator


@dataclass(frozen=True, kw_only=True)
class OnlineTrajectoryMatching(MatchingDistiller):
    """Let a few steps on the synthetic images move a network to where many steps on real images move it.

    Of a pool of `networks` one is drawn at every iteration. From where it is, θ, it goes `real_steps` steps of SGD on
    real images to θ*, and `steps` steps on the synthetic ones, at a rate α that is learned, to θ'; the images go down
    the gradient of ‖θ' − θ*‖² / ‖θ − θ*‖² (the paper's Eq. 2), exactly, through all steps. The network then stays at
    θ*, and is replaced by a new one after 1 to `matches` iterations.

    So no part of a trajectory is met twice. With a buffer of trajectories that were trained beforehand, as in the
    paper, a set that is made in an hour of a processor learns their weights by heart: after 460 iterations on four of
    them (ConvNet-3 w32) the loss was 0.17 on these and 0.37 on others. Nor are there files, or a phase before the
    first iteration.

    The defaults make sets for pruning rounds and short trainings of networks of three norms, which start from untrained
    networks and last some 30 steps: real trajectories are matched over their first few hundred steps.
    """

    method: ClassVar[str] = "online_trajectory_matching"

    iterations: int = 1500
    """Steps on the images, at least 1."""
    optimizer: Literal["sgd", "adam"] = "adam"
    """What steps on the images: `adam` (betas 0.9 and 0.99), or `sgd` with `momentum`."""
    image_rate: float = 0.05
    """Learning rate of the images, above 0; Adam's steps are of this size in units of the channels' deviation."""
    schedule: str = "cosine"
    """Of the images' and labels' rates: `constant`, `cosine`, `one_cycle` or `half_step`."""
    labels: Labels = "learned"
    """`hard`, or `learned`: soft labels that are optimised with the images, from 95 % certainty on."""
    label_rate: float = 0.02
    """The same optimiser's learning rate for learned labels (their logits), above 0."""
    architectures: Architectures = field(
        default_factory=lambda: {"name": "convnet", "depth": 3, "width": 32, "norm": ["instance", "batch", "none"]}
    )
    """The networks that the set is made with: `name` and hyperparameters. A list of values (or `choice: [...]`) for a
    hyperparameter, or a list of networks, makes it a pool from which one is drawn at a time."""
    steps: int = 10
    """Steps on the synthetic images that are unrolled, at least 1."""
    batch_size: int = 100
    """Synthetic images a step, drawn anew for each; all of them where there are fewer."""
    learned_rate_start: float = 0.02
    """Where the learned rate α starts, above 0."""
    learned_rate_rate: float = 1e-3
    """The learning rate of α itself, above 0 (see LearnedRate)."""
    real_steps: int = 40
    """Steps on real images that those on synthetic ones are to make up for, at least 1."""
    real_images: int = 100
    """Real images of each of these steps, drawn at random, at least 1."""
    real_rate: float = 0.05
    """SGD's learning rate of these steps, above 0."""
    networks: int = 9
    """Networks in use at a time, at least 1."""
    matches: int = 6
    """Most iterations that a network is used for before it is replaced, at least 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("real_steps", "real_images", "networks", "matches"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        self._require_positive("real_rate")

    @property
    def step_sizes(self) -> dict[str, float]:
        """See IterativeDistiller."""
        return {**super().step_sizes, "real_rate": self.real_rate}

    def check(self, source: ImageDataset, images_per_class: int) -> None:
        """See Distiller."""
        super().check(source, images_per_class)
        self.check_networks(self.pool.own_specs(), source)

    def objective(self, task: Task) -> Objective:
        """See IterativeDistiller."""
        return _OnlineMatching(self, task)


class _Expert:
    """A network of the pool, in training on real images."""

    def __init__(self, number: int, task: Task, settings: OnlineTrajectoryMatching) -> None:
        self.number, self.matches = number, 0
        pool, source = settings.pool, task.source
        self.spec = pool.turn(task.seed, number)
        self.lifetime = int(torch.randint(1, settings.matches + 1, (), generator=generator(task.seed, "life", number)))
        model = build(self.spec, source.image_shape, source.classes, seed=derive_seed(task.seed, "network", number))
        device = default_device()
        self.parameters = {name: value.detach().to(device) for name, value in model.named_parameters()}

    def state_dict(self) -> dict[str, Any]:
        parameters = {name: value.clone() for name, value in self.parameters.items()}
        return {"number": self.number, "matches": self.matches, "parameters": parameters}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.matches = int(state["matches"])
        self.parameters = {name: value.to(default_device()) for name, value in state["parameters"].items()}


class _OnlineMatching(Student):
    def __init__(self, settings: OnlineTrajectoryMatching, task: Task) -> None:
        super().__init__(settings, task, settings.pool.size)
        self._own = settings
        self._experts: list[_Expert] = []
        self._made = 0

    def __call__(self, synthetic: Synthetic, iteration: int, scale: float) -> float:
        settings, draws = self._own, generator(self._task.seed, "match", iteration)
        while len(self._experts) < settings.networks:
            self._experts.append(self._new_expert())
        place = int(torch.randint(settings.networks, (), generator=draws))
        expert = self._experts[place]
        begin, goal = expert.parameters, self._trained(expert, scale)
        length = sum((begin[name] - goal[name]).square().sum().item() for name in goal)
        way = f"{settings.real_steps} steps of network {expert.number} on real images"
        loss = self.match(synthetic, iteration, expert.spec, begin, goal, length, way)
        expert.parameters, expert.matches = goal, expert.matches + 1
        if expert.matches >= expert.lifetime:
            self._experts[place] = self._new_expert()
        return loss

    def _trained(self, expert: _Expert, scale: float) -> dict[str, Tensor]:
        """Return the parameters of a network after steps on real images, `scale` times as large as usual.

        Raises:
            Broken: they are not finite, or did not change.
        """
        settings, task, device = self._own, self._task, default_device()
        inner, current = self.inner_gradient(expert.spec, device), expert.parameters
        for step in range(settings.real_steps):
            draws = generator(task.seed, "real images", expert.number, expert.matches, step)
            drawn = torch.randint(len(task.source), (settings.real_images,), generator=draws)
            images = self._augment(task.space(pixels(task.source, drawn).to(device)), draws)
            gradient = inner.gradient(current, images, task.source.labels[drawn].to(device))
            current = {name: value - scale * settings.real_rate * gradient[name] for name, value in current.items()}
            self.image_gradients += len(images)
        if not all_finite(current.values()):
            raise Broken(
                f"network {expert.number}, in training on real images, is no longer finite", smaller("real_rate")
            )
        return current

    def _new_expert(self) -> _Expert:
        self._made += 1
        return _Expert(self._made - 1, self._task, self._own)

    def state_dict(self) -> dict[str, Any]:
        """See Objective."""
        return {"made": self._made, "experts": [expert.state_dict() for expert in self._experts]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See Objective."""
        self._experts = []
        for saved in state["experts"]:
            expert = _Expert(int(saved["number"]), self._task, self._own)
            expert.load_state_dict(saved)
            self._experts.append(expert)
        self._made = int(state["made"])
