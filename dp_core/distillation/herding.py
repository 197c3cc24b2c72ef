"""Herding (Welling, ICML 2009; as iCaRL chooses exemplars, Rebuffi et al., CVPR 2017, arXiv 1611.07725)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dp_core.distillation.embedding import SelectedByEmbedding


@dataclass(frozen=True)
class Herding(SelectedByEmbedding):
    """Choose the real images whose mean embedding is, greedily, closest to that of their class.

    The embedding is the input of the last linear layer of a network trained on the source. Unlike iCaRL's it is not
    scaled to unit length: what is matched is the mean that distribution matching matches.
    """

    method: ClassVar[str] = "herding"

    @staticmethod
    def select(embeddings: Tensor, count: int) -> Tensor:
        """Choose, one by one and none twice, the image that brings the mean of the chosen closest to the mean of all.

        The k-th is argmin_x ‖μ − (φ(x) + Σ_{j<k} φ(p_j)) / k‖ over the images left (iCaRL, Algorithm 4); of several,
        the first.

        Args and result: see `SelectedByEmbedding`.
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
