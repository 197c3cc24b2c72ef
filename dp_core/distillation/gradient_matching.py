"""Gradient matching: DC (Zhao, Mopuri & Bilen, ICLR 2021, arXiv 2006.05929), DSA (ICML 2021, arXiv 2102.08259)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _NormBase

from dp_core.data import ImageDataset
from dp_core.data.registry import AUGMENTATIONS
from dp_core.device import default_device
from dp_core.distillation.base import pixels
from dp_core.distillation.broken import Overstepped, all_finite, smaller
from dp_core.distillation.iterative import IterativeDistiller, Task
from dp_core.distillation.running import Objective
from dp_core.distillation.synthetic import Synthetic
from dp_core.errors import UserError, in_one_line
from dp_core.models import build
from dp_core.seeds import generator
from dp_core.training import Network

# Most synthetic images of a step on the network, and real images a class that batch norm is frozen on: the authors'.
_NETWORK_BATCH, _STATISTICS_BATCH = 256, 16


@dataclass(frozen=True, kw_only=True)
class GradientMatching(IterativeDistiller):
    """Match the gradients that real and synthetic images of a class give a network, while it learns the synthetic set.

    The paper's algorithm 1: for each class, the gradient of the cross-entropy of a real batch is compared with that of
    the synthetic images of the class (see `gradient_distance`), and the images follow the gradient of the sum of these
    distances. The network is then trained on the synthetic set for `network_steps` steps (ζ_θ), and replaced by a new
    one after `network_iterations` iterations (T), so that gradients are matched along the way that a training on the
    set takes. With `siamese` augmentation, of which every class and iteration has its own draw, this is DSA; with
    `none` it is DC.

    Batch norm, which would let a class be recognised by the company of its kind, is frozen for the matching at the
    statistics of real images of all classes, 16 of each.
    """

    method: ClassVar[str] = "gradient_matching"

    image_rate: float = 0.1
    """Learning rate of the images, above 0."""
    real_images: int = 256
    """Real images of each class an iteration, at least 1; all of them where a class has fewer."""
    network_iterations: int | None = None
    """Iterations from one new network to the next, at least 1; null takes as many as images a class, as the authors."""
    network_steps: int = 50
    """Steps of up to 256 synthetic images that a network is trained for between two iterations, 0 or more. The authors
    take 50 at 10 images a class and 20 at 50."""
    network_rate: float = 0.01
    """SGD's learning rate of the networks, above 0."""
    network_momentum: float = 0.5
    """SGD's momentum of the networks, from 0 to below 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("real_images", self.real_images >= 1, "at least 1")
        fine = self.network_iterations is None or self.network_iterations >= 1
        self._require("network_iterations", fine, "at least 1 (or null)")
        self._require("network_steps", self.network_steps >= 0, "0 or more")
        self._require_positive("network_rate")
        self._require("network_momentum", 0 <= self.network_momentum < 1, "from 0 to below 1")
        if self.labels != "hard":
            raise UserError("gradient_matching matches classes and has no use for learned labels: labels is hard.")

    @property
    def step_sizes(self) -> dict[str, float]:
        """See IterativeDistiller."""
        return {**super().step_sizes, "network_rate": self.network_rate}

    def check(self, source: ImageDataset, images_per_class: int) -> None:
        """See Distiller."""
        super().check(source, images_per_class)
        for spec in self.pool.own_specs():
            model = build(spec, source.image_shape, source.classes, seed=0).eval()
            images = torch.randn(1, *source.image_shape, generator=generator(0, "images")).requires_grad_()
            try:
                found = weight_gradients(model, images, torch.zeros(1, dtype=torch.long))
                torch.stack([gradient.square().sum() for gradient in found.values()]).sum().backward()
            except Exception as error:  # a user's module may raise anything
                raise UserError(
                    f"The gradient of the model '{spec.label()}' cannot be differentiated again: {in_one_line(error)}."
                ) from error

    def objective(self, task: Task) -> Objective:
        """See IterativeDistiller."""
        return _ClassGradients(task, self)


def weight_gradients(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return the gradient of the mean cross-entropy by every weight of `model`, as a function of `images`.

    What is returned can be differentiated again, by the images; nothing flows to the model's own parameters. Weights
    are parameters of two or more dimensions: like the authors, the matching leaves out biases and the scales of norms.

    Args:
        model: a network; its modes and buffers are taken as they are.
        images: float [N, C, H, W], in the network's space.
        labels: int64 [N].
    """
    fixed = {name: parameter.detach() for name, parameter in model.named_parameters()}
    weights = {name: parameter for name, parameter in fixed.items() if parameter.dim() > 1}

    def loss(weights: dict[str, Tensor]) -> Tensor:
        own = images.clone()  # which a user's code may change
        return F.cross_entropy(functional_call(model, fixed | weights, (own,)), labels)

    with sdpa_kernel(SDPBackend.MATH):  # the only attention that can be differentiated twice
        found: dict[str, Tensor] = grad(loss)(weights)
    return found


def gradient_distance(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> Tensor:
    """Return how far apart the directions of two gradients are (the paper's gradient matching loss).

    A weight [out, …] is read as `out` rows, one for each output node: [out, in] of linear layers, [out, in·h·w] of
    convolutions. The distance is the sum of 1 − cosine over all rows of all weights, from 0 to twice their number. A
    row of zeros has the distance 1 from any other.

    Args:
        one: gradients by name of the weight, each of two or more dimensions.
        other: gradients of the same names and shapes.
    """
    cosines = [F.cosine_similarity(one[name].flatten(1), other[name].flatten(1), dim=1) for name in one]
    return torch.stack([(1 - cosine).sum() for cosine in cosines]).sum()


class _Member:
    """A network in training on the synthetic images.

    Batch norms are in training mode only where statistics are to be learned, everything else never is: dropout would
    draw from generators that are not the distillation's.
    """

    def __init__(self, number: int, task: Task, settings: GradientMatching, device: torch.device) -> None:
        self.number, self._rate = number, settings.network_rate
        built = settings.pool.build(task.source.image_shape, task.source.classes, task.seed, number)
        self._model = built.to(device).eval()
        self._network = Network(self._model)
        self._network.train(False)
        modules = self._network.executed.modules()
        self._norms = [norm for norm in modules if isinstance(norm, _NormBase) and norm.running_mean is not None]
        for norm in self._norms:
            norm.momentum = 1.0  # running statistics are those of the last batch
        self._optimizer = torch.optim.SGD(self._model.parameters(), self._rate, momentum=settings.network_momentum)

    def freeze_norms(self, images: Tensor) -> None:
        """Let batch norms normalise by the statistics of `images` until the network is trained again."""
        if not self._norms:
            return
        self._learn_statistics()
        with torch.no_grad():
            self._network(images)
        self._network.train(False)

    def distance(self, real: Tensor, synthetic: Tensor, label: int) -> Tensor:
        """Return how far apart the gradients of two batches of one class are, as a function of `synthetic`."""
        weights = {name: parameter for name, parameter in self._model.named_parameters() if parameter.dim() > 1}
        # Nobody differentiates the real side again, so that it may take the fast form of the network.
        loss = F.cross_entropy(self._network(real), _labels(label, real))
        wanted = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
        found = weight_gradients(self._model, synthetic, _labels(label, synthetic))
        return gradient_distance(found, dict(zip(weights, wanted, strict=True)))

    def train(self, images: Tensor, labels: Tensor, scale: float) -> None:
        """Do one step on synthetic images, `scale` times as large as usual."""
        self._learn_statistics()
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate * scale
        self._optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(self._network(images), labels).backward()
        self._optimizer.step()

    def check(self) -> None:
        """Raise Overstepped unless the network is finite: a checkpoint with one that is not leads nowhere."""
        if not all_finite(self._model.parameters()):
            raise Overstepped(
                f"network {self.number}, in training on the synthetic images, is no longer finite",
                smaller("network_rate", "image_rate"),
            )

    def _learn_statistics(self) -> None:
        for norm in self._norms:
            norm.train()

    def state_dict(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "model": {name: value.detach().clone() for name, value in self._model.state_dict().items()},
            "optimizer": copy.deepcopy(self._optimizer.state_dict()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._model.load_state_dict(dict(state["model"]))
        self._optimizer.load_state_dict(copy.deepcopy(dict(state["optimizer"])))


class _ClassGradients:
    def __init__(self, task: Task, settings: GradientMatching) -> None:
        self.image_gradients = 0
        self._task, self._settings = task, settings
        self._augment = AUGMENTATIONS[settings.augmentation]
        self._life = settings.network_iterations or task.images_per_class
        self._member: _Member | None = None

    def __call__(self, synthetic: Synthetic, iteration: int, scale: float) -> float:
        device, number = synthetic.images.device, iteration // self._life
        if self._member is None or self._member.number != number:
            self._member = _Member(number, self._task, self._settings, device)
        loss = self._match(self._member, synthetic, iteration)
        if (iteration + 1) % self._life:
            self._train(self._member, synthetic, iteration, scale)
        else:
            self._member = None  # nobody sees it again
        return loss

    def _match(self, member: _Member, synthetic: Synthetic, iteration: int) -> float:
        """Add up the gradients of the images, one class at a time: all at once took as long, and far more memory."""
        classes, ipc, device = synthetic.classes, self._task.images_per_class, synthetic.images.device
        few = [self._real(label, iteration, _STATISTICS_BATCH, device) for label in range(classes)]
        member.freeze_norms(torch.cat(few))
        total = torch.zeros((), device=device)
        for label in range(classes):
            real = self._real(label, iteration, self._settings.real_images, device)
            made = self._augmented(synthetic.images[label * ipc : (label + 1) * ipc], "matching", iteration, label)
            distance = member.distance(real, made, label)
            distance.backward()
            total += distance.detach()
            self.image_gradients += len(real) + 2 * len(made)
        return total.item()

    def _train(self, member: _Member, synthetic: Synthetic, iteration: int, scale: float) -> None:
        images, labels = synthetic.images.detach(), synthetic.hard
        draws = generator(self._task.seed, "network batches", iteration)
        for step in range(self._settings.network_steps):
            drawn = torch.randperm(len(images), generator=draws)[:_NETWORK_BATCH].to(images.device)
            member.train(self._augmented(images[drawn], "training", iteration, step), labels[drawn], scale)
            self.image_gradients += len(drawn)
        member.check()

    def _real(self, label: int, iteration: int, count: int, device: torch.device) -> Tensor:
        """Return `count` augmented real images of a class; all of them if there are fewer."""
        source, draws = self._task.source, generator(self._task.seed, "real batch", iteration, label)
        members = source.class_indices(label)
        drawn = members[torch.randperm(len(members), generator=draws)[:count]]
        return self._augmented(self._task.space(pixels(source, drawn).to(device)), "matching", iteration, label)

    def _augmented(self, images: Tensor, *purpose: str | int) -> Tensor:
        return self._augment(images, generator(self._task.seed, "augmentation", *purpose))

    def state_dict(self) -> dict[str, Any]:
        return {"member": None if self._member is None else self._member.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._member = None
        if state["member"] is not None:
            self._member = _Member(int(state["member"]["number"]), self._task, self._settings, default_device())
            self._member.load_state_dict(state["member"])


def _labels(label: int, images: Tensor) -> Tensor:
    return torch.full((len(images),), label, device=images.device)
