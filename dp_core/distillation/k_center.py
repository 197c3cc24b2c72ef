"""k-center greedy, the core-set selection of Sener & Savarese (ICLR 2018, arXiv 1708.00489)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dp_core.distillation.embedding import SelectedByEmbedding


@dataclass(frozen=True)
class KCenter(SelectedByEmbedding):
    """Choose real images such that no image of their class is far from all of them in the embedding of a network.

    The embedding is the input of the last linear layer of a network trained on the source.
    """

    method: ClassVar[str] = "k_center"

    @staticmethod
    def select(embeddings: Tensor, count: int) -> Tensor:
        """Choose the image nearest to the mean, then one by one the image farthest from all that are chosen.

        The largest distance of an image to its nearest centre is then at most twice what the best centres would have
        (Gonzalez 1985). Of several that are equally near or far, the first is chosen; none is chosen twice.

        Args and result: see `SelectedByEmbedding`.
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
