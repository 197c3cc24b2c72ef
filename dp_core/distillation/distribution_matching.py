"""Distribution matching, DM (Zhao & Bilen, WACV 2023, arXiv 2110.04181)."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dp_core.data import ImageDataset
from dp_core.data.augmentation import AUGMENTATIONS
from dp_core.data.preprocessing import Standardisation
from dp_core.device import default_device
from dp_core.distillation.base import (
    Progress,
    check_images_per_class,
    draw_images,
    pixels,
    provenance,
    standardisation_of,
)
from dp_core.distillation.distilled_set import DistilledSet
from dp_core.errors import UserError
from dp_core.models import ModelSpec, build
from dp_core.seeds import derive_seed, generator


@dataclass(frozen=True)
class DistributionMatching:
    """Match the mean embedding of each class, real against synthetic, under randomly initialised networks.

    Every iteration draws a new network, a real batch of each class and one siamese augmentation, and takes a step on
    the synthetic images along the gradient of Σ_classes ‖mean ψ(real) − mean ψ(synthetic)‖² (the paper's Eq. 4), where
    ψ is the input of the network's last linear layer. Only the synthetic images carry gradients, no network is trained.
    The images start as random real ones.
    """

    iterations: int = 300
    """Steps on the images, at least 1. The paper takes 20,000."""
    real_images: int = 64
    """Real images of each class an iteration (256 in the paper); all of them where a class has fewer."""
    learning_rate: float = 1.0
    """SGD's rate on the images, for one image a class; it is multiplied by ipc, because the gradient of a mean over
    ipc images falls with 1/ipc."""
    momentum: float = 0.5
    """SGD's momentum on the images, from 0 to below 1."""
    augmentation: str = "siamese"
    """`siamese` (DSA), `flip_crop` or `none`."""
    model: Mapping[str, Any] = field(default_factory=lambda: {"name": "convnet", "depth": 3, "width": 64})
    """The network that embeds: `name` and hyperparameters."""

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.real_images < 1 or not self.learning_rate > 0 or not 0 <= self.momentum < 1:
            raise UserError(
                "Distribution matching needs iterations and real_images of at least 1, a learning_rate above 0 and a "
                f"momentum from 0 to below 1, not {self.iterations}, {self.real_images}, {self.learning_rate} and "
                f"{self.momentum}."
            )
        if self.augmentation not in AUGMENTATIONS:
            raise UserError(f"Distribution matching has no augmentation '{self.augmentation}'.")

    def settings(self) -> dict[str, Any]:
        """See Distiller."""
        return {"method": "distribution_matching", **asdict(self), "model": dict(self.model)}

    def check(self, source: ImageDataset, images_per_class: int) -> None:
        """See Distiller."""
        check_images_per_class(source, images_per_class)
        model = build(ModelSpec.from_dict(self.model), source.image_shape, source.classes, seed=0)
        with torch.no_grad():
            embed(model, torch.zeros(1, *source.image_shape))

    def distill(self, source: ImageDataset, images_per_class: int, seed: int, progress: Progress) -> DistilledSet:
        """See Distiller."""
        self.check(source, images_per_class)
        started = time.perf_counter()
        space = standardisation_of(source)
        chosen = draw_images(source, images_per_class, generator(seed, "initial images"))
        images = space(pixels(source, chosen)).to(default_device()).requires_grad_()
        optimizer = torch.optim.SGD([images], self.learning_rate * images_per_class, self.momentum)
        for iteration in range(self.iterations):
            loss = self._loss(images, source, space, seed, iteration)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            if not math.isfinite(loss.item()):
                raise UserError(
                    f"Distribution matching diverged at iteration {iteration + 1}: lower its learning_rate, "
                    f"now {self.learning_rate}."
                )
            progress(iteration + 1, self.iterations, loss.item())
        return DistilledSet(
            images=images.detach().cpu().contiguous(),
            labels=source.labels[chosen].clone(),
            preprocessing=space,
            class_names=source.class_names,
            images_per_class=images_per_class,
            learning_rate=None,
            provenance=provenance(
                self.settings(),
                source,
                seed,
                seconds=time.perf_counter() - started,
                image_gradients=self.iterations * len(chosen),
            ),
        )

    def _loss(self, images: Tensor, source: ImageDataset, space: Standardisation, seed: int, iteration: int) -> Tensor:
        spec = ModelSpec.from_dict(self.model)
        model = build(spec, source.image_shape, source.classes, seed=derive_seed(seed, "network", iteration))
        model.requires_grad_(False).to(images.device)
        count = min(self.real_images, *(len(source.class_indices(label)) for label in range(source.classes)))
        drawn = draw_images(source, count, generator(seed, "real batch", iteration))
        with torch.no_grad():
            real = self._class_means(model, space(pixels(source, drawn).to(images.device)), count, seed, iteration)
        synthetic = self._class_means(model, images, len(images) // source.classes, seed, iteration)
        return (real - synthetic).square().sum()

    def _class_means(self, model: nn.Module, images: Tensor, count: int, seed: int, iteration: int) -> Tensor:
        """Return the mean embedding of each class, [classes, features]; the same augmentation for every caller."""
        augmented = AUGMENTATIONS[self.augmentation](images, generator(seed, "augmentation", iteration))
        embedded = embed(model, augmented)
        return embedded.view(-1, count, embedded.shape[1]).mean(1)


def embed(model: nn.Module, images: Tensor) -> Tensor:
    """Return the input of the model's last linear layer for `images`, flattened to [N, features]."""
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not linears:
        raise UserError(f"The model {type(model).__name__} has no linear layer whose input could serve as embedding.")
    seen: list[Tensor] = []
    hook = linears[-1].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    try:
        model(images)
    finally:
        hook.remove()
    return seen[-1].flatten(1)
