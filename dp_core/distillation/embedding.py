"""Where a network puts images, and distilled sets of the real images that are chosen by that."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dp_core.data import ImageDataset
from dp_core.data.preprocessing import Preprocessing
from dp_core.distillation.base import HERE, Workspace, check_images_per_class, pixels, provenance, standardisation_of
from dp_core.distillation.distilled_set import DistilledSet
from dp_core.distillation.teacher import teacher_gradients, train_teacher, untrained
from dp_core.errors import UserError

_BATCH = 250  # images embedded at once


def embed(model: nn.Module, images: Tensor, through: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """Return the input of the model's last linear layer for `images`, flattened to [N, features].

    Args:
        model: a network.
        images: float [N, C, H, W], in the network's space.
        through: executes the model, such as a `Network` made of it; None calls the model.

    Raises:
        UserError: the model has no linear layer, or does not go through it.
    """
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    seen: list[Tensor] = []
    hooks = [linear.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0])) for linear in linears[-1:]]
    try:
        (through or model)(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not seen:
        raise UserError(f"The model {type(model).__name__} has no linear layer whose input could serve as embedding.")
    return seen[-1].flatten(1)


def check_embedding(source: ImageDataset, model: Mapping[str, Any]) -> None:
    """Raise UserError unless `model` (name and hyperparameters) can be built and embeds the images of `source`."""
    network = untrained(source, model, seed=0).eval()
    with torch.no_grad():
        embed(network, torch.zeros(1, *source.image_shape))


def embed_images(model: nn.Module, source: ImageDataset, space: Preprocessing, indices: Tensor) -> Tensor:
    """Return the embeddings of the images at `indices` (int64 [n]), without gradients, batch by batch.

    The model, on whatever device it is, is used in the mode that it is in.

    Returns:
        float32 [n, features], on the CPU.

    Raises:
        UserError: the model has no embedding (see `embed`), or its values are not finite.
    """
    device = next(model.parameters()).device
    with torch.no_grad():
        batches = [embed(model, space(pixels(source, part).to(device))).float().cpu() for part in indices.split(_BATCH)]
    embedded = torch.cat(batches)
    if not torch.isfinite(embedded).all():
        raise UserError(f"The model {type(model).__name__} embeds some images in values that are not finite.")
    return embedded


@dataclass(frozen=True)
class SelectedByEmbedding(ABC):
    """A distiller that chooses real images, class by class, by where a network trained on the source puts them.

    The provenance of its sets has the chosen `indices` of the source, in the order of the set, and as cost the
    image-gradients of the network's training.
    """

    method: ClassVar[str]

    model: Mapping[str, Any] = field(default_factory=lambda: {"name": "convnet", "depth": 3, "width": 64})
    """The network that embeds: `name` and hyperparameters."""
    steps: int = 1000
    """Steps of 128 images that it is trained for, 0 or more; 0 embeds with a random network."""

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise UserError(f"{self.method} needs steps of 0 or more, not {self.steps}.")

    @staticmethod
    @abstractmethod
    def select(embeddings: Tensor, count: int) -> Tensor:
        """Choose among the images of a class.

        Args:
            embeddings: float [n, features].
            count: how many, from 1 to n.

        Returns:
            int64 [count], places in 0 to n - 1, all different, in the order chosen.
        """

    def settings(self) -> dict[str, Any]:
        """See Distiller."""
        return {"method": self.method, **asdict(self), "model": dict(self.model)}

    def check(self, source: ImageDataset, images_per_class: int) -> None:
        """See Distiller."""
        check_images_per_class(source, images_per_class)
        check_embedding(source, self.model)

    def distill(
        self, source: ImageDataset, images_per_class: int, seed: int, workspace: Workspace = HERE
    ) -> DistilledSet:
        """See Distiller."""
        self.check(source, images_per_class)
        started = time.perf_counter()
        space, total = standardisation_of(source), self.steps + source.classes
        if self.steps:
            workspace.say(f"Training the network that embeds the images for {self.steps} steps.")
        network = train_teacher(
            source,
            space,
            self.model,
            self.steps,
            seed,
            lambda done, _, loss: workspace.progress(done, total, loss),
        )
        chosen = []
        for label in range(source.classes):
            members = source.class_indices(label)
            chosen.append(members[self.select(embed_images(network, source, space, members), images_per_class)])
            workspace.progress(self.steps + label + 1, total, 0.0)
        indices = torch.cat(chosen)
        seconds, gradients = time.perf_counter() - started, teacher_gradients(source, self.steps)
        made = provenance(self.settings(), source, seed, seconds=seconds, image_gradients=gradients)
        return DistilledSet(
            images=space(pixels(source, indices)),
            labels=source.labels[indices],
            preprocessing=space,
            class_names=source.class_names,
            images_per_class=images_per_class,
            learning_rate=None,
            provenance={**made, "indices": indices.tolist()},
        )
