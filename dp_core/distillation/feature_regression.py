"""Neural feature regression with a pool of networks, FRePo (Zhou, Nezhadarya & Ba, NeurIPS 2022, arXiv 2206.00719)."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor

from dp_core.data.registry import AUGMENTATIONS
from dp_core.device import default_device
from dp_core.distillation.base import pixels
from dp_core.distillation.broken import Broken, Overstepped, all_finite, smaller
from dp_core.distillation.embedding import embed
from dp_core.distillation.iterative import IterativeDistiller, Labels, Task
from dp_core.distillation.pool import Pool
from dp_core.distillation.running import Objective
from dp_core.distillation.synthetic import Synthetic
from dp_core.models.families import Architectures
from dp_core.seeds import generator
from dp_core.training import Network

# Sums of the squares of larger ones are beyond float32.
_LARGEST_FEATURE = 1e15


@dataclass(frozen=True, kw_only=True)
class FeatureRegression(IterativeDistiller):
    """Let a ridge regression on the features of the synthetic images predict the labels of real ones.

    Of a network only the last layer is trained to its optimum, in closed form: with features Φ_s of the N synthetic
    images and Φ_r of a real batch (inputs of the last linear layer), the loss is the squared error

        ½ ‖Y_r − Φ_r Φ_sᵀ (Φ_s Φ_sᵀ + λ·tr(Φ_s Φ_sᵀ)·I)⁻¹ Y_s‖² / batch

    (kernel ridge regression on neural features, labels centred by 1/classes), whose gradient goes through one pass of
    the network and no unrolled training. The networks come from a pool of `networks`: each is used when its turn is
    drawn, then trained on the synthetic images for one step, and replaced by a new one after 1 to `network_steps` such
    steps, so that the set meets networks from untrained to trained on it. With several `architectures`, it meets all
    of them.

    The defaults make sets for pruning rounds and short trainings of narrow networks of three norms, which are trained
    as a round of some 30 steps trains them. For wider ones make a set with wider ones (benchmarks/set_worth.py).
    """

    method: ClassVar[str] = "feature_regression"

    iterations: int = 3000
    """Steps on the images, at least 1."""
    optimizer: Literal["sgd", "adam"] = "adam"
    """What steps on the images: `adam` (betas 0.9 and 0.99), or `sgd` with `momentum`."""
    image_rate: float = 0.02
    """Learning rate of the images, above 0; Adam's steps are of this size in units of the channels' deviation."""
    schedule: str = "cosine"
    """Of the images' and labels' rates: `constant`, `cosine`, `one_cycle` or `half_step`."""
    labels: Labels = "learned"
    """`hard`, or `learned`: soft labels that are optimised with the images, from 95 % certainty on."""
    architectures: Architectures = field(
        default_factory=lambda: {"name": "convnet", "depth": 3, "width": 32, "norm": ["instance", "batch", "none"]}
    )
    """The networks that the set is made with: `name` and hyperparameters. A list of values (or `choice: [...]`) for a
    hyperparameter, or a list of networks, makes it a pool from which one is drawn at a time."""
    synthetic_images: int = 200
    """Most synthetic images an iteration; of a larger set so many are drawn, of every class as many as can be, anew for
    the regression and for the training of its network. So time and memory are the same for sets of any size."""
    real_images: int = 384
    """Real images an iteration, of all classes; all of them where there are fewer."""
    ridge: float = 1e-3
    """λ above, above 0: the regression's penalty as a share of the kernel's trace."""
    networks: int = 10
    """Networks in use at a time, at least 1."""
    network_steps: int = 30
    """Most steps that a network is trained for before it is replaced, at least 1."""
    network_rate: float = 3e-3
    """Adam's learning rate of the networks, above 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("synthetic_images", self.synthetic_images >= 1, "at least 1")
        self._require("real_images", self.real_images >= 1, "at least 1")
        self._require("networks", self.networks >= 1, "at least 1")
        self._require("network_steps", self.network_steps >= 1, "at least 1")
        self._require_positive("ridge", "network_rate")

    @property
    def step_sizes(self) -> dict[str, float]:
        """See IterativeDistiller."""
        return {**super().step_sizes, "network_rate": self.network_rate}

    def objective(self, task: Task) -> Objective:
        """See IterativeDistiller."""
        return _RidgeRegression(task, self)


def ridge_regression_loss(synthetic: Tensor, labels: Tensor, real: Tensor, real_labels: Tensor, ridge: float) -> Tensor:
    """Return half the mean squared error of a ridge regression fitted to synthetic and tested on real features.

    Args:
        synthetic: float [N, features].
        labels: float [N, classes], what the synthetic images are to mean.
        real: float [B, features].
        real_labels: float [B, classes].
        ridge: penalty, in shares of the trace of the synthetic images' kernel; gradients take it for a constant.
    """
    kernel = synthetic @ synthetic.T
    penalty = ridge * kernel.detach().trace() * torch.eye(len(kernel), dtype=kernel.dtype, device=kernel.device)
    weights = torch.linalg.solve_ex(kernel + penalty, labels).result  # not finite, no error, where all features are 0
    loss: Tensor = 0.5 * (real @ synthetic.T @ weights - real_labels).square().sum(1).mean()
    return loss


def balanced(labels: Tensor, count: int, draw: torch.Generator) -> Tensor:
    """Draw `count` of the images with these labels, int64 [N], of every class as many as can be.

    Returns:
        int64 [count], rising.
    """
    shuffled = torch.randperm(len(labels), generator=draw)
    own = F.one_hot(labels[shuffled])
    turns = (own.cumsum(0) * own).sum(1)  # 1 for the first image of every class in this order, 2 for the second, …
    return torch.sort(shuffled[torch.argsort(turns, stable=True)][:count]).values


class _Member:
    """A network of the pool, in training on the synthetic images."""

    def __init__(self, number: int, task: Task, pool: Pool, settings: FeatureRegression, device: torch.device) -> None:
        self.number, self.trained, self._rate = number, 0, settings.network_rate
        draws = generator(task.seed, "lifetime", number)
        self.lifetime = int(torch.randint(1, settings.network_steps + 1, (), generator=draws))
        self._model = pool.build(task.source.image_shape, task.source.classes, task.seed, number).to(device)
        self._network = Network(self._model)
        self._optimizer = torch.optim.Adam(self._model.parameters(), self._rate)

    def features(self, images: Tensor) -> Tensor:
        """Return the input of the last linear layer, float32 [N, features]."""
        self._network.train()
        return embed(self._network.executed, images, self._network).float()

    def train(self, images: Tensor, labels: Tensor, scale: float) -> None:
        """Do one step on the synthetic images, `scale` times as large as usual.

        Raises:
            Overstepped: the network is no longer finite: a checkpoint with such a one leads nowhere.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate * scale
        self._optimizer.zero_grad(set_to_none=True)
        self._network.train()
        F.cross_entropy(self._network(images), labels).backward()
        self._optimizer.step()
        self.trained += 1
        if not all_finite(self._model.parameters()):
            raise Overstepped(
                f"network {self.number}, in training on the synthetic images, is no longer finite",
                smaller("network_rate", "image_rate"),
            )

    def state_dict(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "trained": self.trained,
            "model": {name: value.detach().clone() for name, value in self._model.state_dict().items()},
            "optimizer": copy.deepcopy(self._optimizer.state_dict()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.trained = int(state["trained"])
        self._model.load_state_dict(dict(state["model"]))
        self._optimizer.load_state_dict(copy.deepcopy(dict(state["optimizer"])))


class _RidgeRegression:
    def __init__(self, task: Task, settings: FeatureRegression) -> None:
        self.image_gradients = 0
        self._task, self._settings, self._pool = task, settings, settings.pool
        self._augment = AUGMENTATIONS[settings.augmentation]
        self._members: list[_Member] = []
        self._made = 0

    def __call__(self, synthetic: Synthetic, iteration: int, scale: float) -> float:
        task, settings = self._task, self._settings
        device = synthetic.images.device
        while len(self._members) < settings.networks:
            self._members.append(self._new_member(device))
        draws = generator(task.seed, "iteration", iteration)
        place = int(torch.randint(settings.networks, (), generator=draws))
        member = self._members[place]
        drawn = torch.randperm(len(task.source), generator=draws)[: settings.real_images]
        images, labels = self._drawn(synthetic, "matching", iteration)
        features = member.features(self._augmented(images, "matching", iteration))
        with torch.no_grad():
            real = task.space(pixels(task.source, drawn).to(device))
            real_features = member.features(self._augmented(real, "matching", iteration))
        classes = task.source.classes
        one_hot = F.one_hot(task.source.labels[drawn], classes).float().to(device)
        loss = ridge_regression_loss(
            features, labels - 1 / classes, real_features, one_hot - 1 / classes, settings.ridge
        )
        if not math.isfinite(loss.item()):
            _explain(features, real_features, member.number)
        loss.backward()
        images, labels = (each.detach() for each in self._drawn(synthetic, "training", iteration))
        member.train(self._augmented(images, "training", iteration), labels, scale)
        if member.trained >= member.lifetime:
            self._members[place] = self._new_member(device)
        self.image_gradients += 2 * len(images)
        return loss.item()

    def _drawn(self, synthetic: Synthetic, purpose: str, iteration: int) -> tuple[Tensor, Tensor]:
        """Return images of an iteration and their labels, float [n, classes]: all, or as many of each class."""
        labels, count = synthetic.probabilities(), self._settings.synthetic_images
        if count >= len(synthetic.images):
            return synthetic.images, labels
        chosen = balanced(
            synthetic.hard.cpu(), count, generator(self._task.seed, "synthetic batch", purpose, iteration)
        )
        return synthetic.images[chosen.to(synthetic.images.device)], labels[chosen.to(labels.device)]

    def _new_member(self, device: torch.device) -> _Member:
        self._made += 1
        return _Member(self._made - 1, self._task, self._pool, self._settings, device)

    def _augmented(self, images: Tensor, purpose: str, iteration: int) -> Tensor:
        return self._augment(images, generator(self._task.seed, "augmentation", purpose, iteration))

    def state_dict(self) -> dict[str, Any]:
        return {"made": self._made, "members": [member.state_dict() for member in self._members]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._members = []
        for saved in state["members"]:
            member = _Member(int(saved["number"]), self._task, self._pool, self._settings, default_device())
            member.load_state_dict(saved)
            self._members.append(member)
        self._made = int(state["made"])


def _explain(features: Tensor, real_features: Tensor, number: int) -> NoReturn:
    """Say why there is no regression on the features of a network."""
    largest = max(features.abs().max().item(), real_features.abs().max().item())
    if not largest <= _LARGEST_FEATURE:
        raise Broken(f"the features of network {number} reach {largest:.3g}", smaller("network_rate", "image_rate"))
    if not features.any():
        raise Broken(
            f"all features of the synthetic images are 0 in network {number}, so that a ridge regression on them has "
            f"no solution",
            "other architectures, " + smaller("image_rate", "network_rate"),
        )
    raise Broken(f"the ridge regression on the features of network {number} is close to singular", "a larger ridge")
