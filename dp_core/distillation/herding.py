"""Herding (Welling, ICML 2009; as iCaRL chooses exemplars, Rebuffi et al., CVPR 2017, arXiv 1611.07725)."""

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
class Herding:
    """Choose the real images whose mean embedding is, greedily, closest to that of their class.

    The embedding is the input of the last linear layer of a network trained on the source. Unlike iCaRL's it is not
    scaled to unit length: what is matched is the mean that distribution matching matches.
    """

    model: Mapping[str, Any] = field(default_factory=lambda: {"name": "convnet", "depth": 3, "width": 64})
    """The network that embeds: `name` and hyperparameters."""
    steps: int = 1000
    """Steps of 128 images that it is trained for, 0 or more; 0 embeds with a random network."""

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise UserError(f"Herding needs steps of 0 or more, not {self.steps}.")

    def settings(self) -> dict[str, Any]:
        """See Distiller."""
        return {"method": "herding", **asdict(self), "model": dict(self.model)}

    def check(self, source: ImageDataset, images_per_class: int) -> None:
        """See Distiller."""
        check_images_per_class(source, images_per_class)
        check_embedding(source, self.model)

    def distill(
        self, source: ImageDataset, images_per_class: int, seed: int, workspace: Workspace = HERE
    ) -> DistilledSet:
        """See Distiller."""
        self.check(source, images_per_class)
        return selected_set(herd, self.settings(), source, images_per_class, seed, workspace)


def herd(embeddings: Tensor, count: int) -> Tensor:
    """Choose, one by one and none twice, the image that brings the mean of the chosen closest to the mean of all.

    The k-th is argmin_x ‖μ − (φ(x) + Σ_{j<k} φ(p_j)) / k‖ over the images left (iCaRL, Algorithm 4); of several, the
    first.

    Args:
        embeddings: float [n, features].
        count: how many, from 1 to n.

    Returns:
        int64 [count], places in 0 to n - 1 in the order chosen.
    """
    embeddings = embeddings.double()
    centred = embeddings - embeddings.mean(0)  # the mean to be met is zero, and the factor 1/k changes no argmin
    total = torch.zeros_like(centred[0])
    taken = torch.zeros(len(centred), dtype=torch.bool)
    chosen: list[int] = []
    for _ in range(count):
        distances = (centred + total).square().sum(1).masked_fill_(taken, torch.inf)
        best = int(distances.argmin())
        chosen.append(best)
        taken[best] = True
        total += centred[best]
    return torch.tensor(chosen)
