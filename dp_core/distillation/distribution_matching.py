"""Distribution matching, DM (Zhao & Bilen, WACV 2023, arXiv 2110.04181)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from dp_core.data.registry import AUGMENTATIONS
from dp_core.distillation.base import draw_images, pixels
from dp_core.distillation.embedding import embed
from dp_core.distillation.iterative import IterativeDistiller, Task
from dp_core.distillation.pool import Pool
from dp_core.distillation.running import Objective
from dp_core.distillation.synthetic import Synthetic
from dp_core.errors import UserError
from dp_core.seeds import generator
from dp_core.training import Network


@dataclass(frozen=True, kw_only=True)
class DistributionMatching(IterativeDistiller):
    """Match the mean embedding of each class, real against synthetic, under randomly initialised networks.

    Every iteration draws a new network, a real batch of each class and one siamese augmentation, and takes a step on
    the synthetic images along the gradient of Σ_classes ‖mean ψ(real) − mean ψ(synthetic)‖² (the paper's Eq. 4), where
    ψ is the input of the network's last linear layer. Only the synthetic images carry gradients, no network is trained;
    so a pool of architectures costs nothing.

    The images' rate is for one image a class; it is multiplied by ipc, because the gradient of a mean over ipc images
    falls with 1/ipc.
    """

    method: ClassVar[str] = "distribution_matching"

    iterations: int = 300
    """Steps on the images, at least 1. The paper takes 20,000."""
    real_images: int = 64
    """Real images of each class an iteration (256 in the paper); all of them where a class has fewer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("real_images", self.real_images >= 1, "at least 1")
        if self.labels != "hard":
            raise UserError("distribution_matching matches classes and has no use for learned labels: labels is hard.")

    def scaled_image_rate(self, images_per_class: int) -> float:
        """See IterativeDistiller."""
        return self.image_rate * images_per_class

    def objective(self, task: Task) -> Objective:
        """See IterativeDistiller."""
        return _MeanEmbeddings(task, self.pool, self.real_images, self.augmentation)


class _MeanEmbeddings:
    def __init__(self, task: Task, pool: Pool, real_images: int, augmentation: str) -> None:
        self.image_gradients = 0
        self._task, self._pool = task, pool
        source = task.source
        self._count = min(real_images, *(len(source.class_indices(label)) for label in range(source.classes)))
        self._augment = AUGMENTATIONS[augmentation]

    def __call__(self, synthetic: Synthetic, iteration: int, scale: float) -> float:
        task = self._task
        model = self._pool.build(task.source.image_shape, task.source.classes, task.seed, iteration)
        network = Network(model.requires_grad_(False).to(synthetic.images.device))
        drawn = draw_images(task.source, self._count, generator(task.seed, "real batch", iteration))
        with torch.no_grad():
            pictured = task.space(pixels(task.source, drawn).to(synthetic.images.device))
            real = self._class_means(network, pictured, self._count, iteration)
        made = self._class_means(network, synthetic.images, task.images_per_class, iteration)
        loss = (real - made).square().sum()
        loss.backward()
        self.image_gradients += len(synthetic.images)
        return loss.item()

    def _class_means(self, network: Network, images: Tensor, count: int, iteration: int) -> Tensor:
        """Return the mean embedding of each class, [classes, features]; the same augmentation for every caller."""
        augmented = self._augment(images, generator(self._task.seed, "augmentation", iteration))
        embedded = embed(network.executed, augmented, network).float()
        return embedded.view(-1, count, embedded.shape[1]).mean(1)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        pass
