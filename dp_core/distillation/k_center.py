"""k-center greedy, the core-set selection of Sener & Savarese (ICLR 2018, arXiv 1708.00489)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from dp_core.data import ImageDataset
from dp_core.distillation.base import HERE, Workspace, check_images_per_class
from dp_core.distillation.distilled_set import DistilledSet
from dp_core.distillation.embedding import check_embedding, selected_set
from dp_core.errors import UserError


@dataclass(frozen=True)
class KCenter:
    """Choose real images such that no image of their class is far from all of them in the embedding of a network.

    The embedding is the input of the last linear layer of a network trained on the source.
    """

    model: Mapping[str, Any] = field(default_factory=lambda: {"name": "convnet", "depth": 3, "width": 64})
    """The network that embeds: `name` and hyperparameters."""
    steps: int = 1000
    """Steps of 128 images that it is trained for, 0 or more; 0 embeds with a random network."""

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise UserError(f"k-center needs steps of 0 or more, not {self.steps}.")

    def settings(self) -> dict[str, Any]:
        """See Distiller."""
        return {"method": "k_center", **asdict(self), "model": dict(self.model)}

    def check(self, source: ImageDataset, images_per_class: int) -> None:
        """See Distiller."""
        check_images_per_class(source, images_per_class)
        check_embedding(source, self.model)

    def distill(
        self, source: ImageDataset, images_per_class: int, seed: int, workspace: Workspace = HERE
    ) -> DistilledSet:
        """See Distiller."""
        self.check(source, images_per_class)
        return selected_set(k_centers, self.settings(), source, images_per_class, seed, workspace)


def k_centers(embeddings: Tensor, count: int) -> Tensor:
    """Choose the image nearest to the mean, then one by one the image farthest from all that are chosen.

    The largest distance of an image to its nearest centre is then at most twice what the best centres would have
    (Gonzalez 1985). Of several that are equally near or far, the first is chosen; none is chosen twice.

    Args:
        embeddings: float [n, features].
        count: how many, from 1 to n.

    Returns:
        int64 [count], places in 0 to n - 1 in the order chosen.
    """
    embeddings = embeddings.double()
    chosen = [int(_squared_distances(embeddings, embeddings.mean(0)).argmin())]
    nearest_centre = torch.full_like(embeddings[:, 0], torch.inf)
    while len(chosen) < count:
        nearest_centre = nearest_centre.minimum(_squared_distances(embeddings, embeddings[chosen[-1]]))
        nearest_centre[chosen[-1]] = -1.0  # below the zero of a duplicate, so that those come before it
        chosen.append(int(nearest_centre.argmax()))
    return torch.tensor(chosen)


def _squared_distances(embeddings: Tensor, point: Tensor) -> Tensor:
    # Not torch.cdist, which multiplies matrices and makes the distance of duplicates something else than zero.
    return (embeddings - point).square().sum(1)
