"""N:M patterns: at most N weights of every M consecutive ones, as sparse tensor cores want them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dp_core.errors import UserError
from dp_core.pruning.criteria.base import Examples
from dp_core.pruning.criteria.selection import parameters_in_scope
from dp_core.pruning.mask import Mask


@dataclass(frozen=True)
class NOfM:
    """Keep the `kept` weights of largest magnitude of every `of` consecutive ones (Mishra et al. 2021).

    Consecutive means along dimension 1 of the weight: the inputs of a linear layer; the input channels of a convolution
    at the same kernel position (of its group, in a grouped convolution), but the output channels of a transposed one,
    whose weight is [in, out, …]. A parameter whose dimension 1 is not a
    multiple of `of`, such as a first layer of three channels in 2:4, stays as it is. Where the mask has already removed
    weights of a group, those count among the removed ones. The pattern decides the sparsity; see `sparsity`.

    Args:
        kept: N, at least 1.
        of: M, above N.
    """

    kept: int
    of: int

    image_gradients = 0

    def __post_init__(self) -> None:
        if not 1 <= self.kept < self.of:
            raise UserError(f"A pattern N:M keeps N of M weights with 1 ≤ N < M, which {self.kept}:{self.of} does not.")

    def sparsity(self, mask: Mask) -> float:
        """Return the sparsity that the pattern gives a network pruned to `mask`: the only one it can be called with."""
        return self._zeros(mask) / mask.total

    def at_most(self, sparsity: float) -> NOfM | None:
        """Return the pattern of as many M on the way to this one that removes at most the share `sparsity` of a group.

        None if that is not even one of M; M − N of M is the most.
        """
        removed = min(math.floor(self.of * sparsity + 1e-9), self.of - self.kept)
        return None if removed == 0 else NOfM(self.of - removed, self.of)

    def __call__(
        self, model: nn.Module, mask: Mask, sparsity: float, generator: torch.Generator, examples: Examples
    ) -> Mask:
        """See Criterion.

        Raises:
            UserError: the sparsity is another than the pattern gives.
        """
        if round(sparsity * mask.total) != self._zeros(mask):
            raise UserError(
                f"The pattern {self.kept}:{self.of} makes this network {self.sparsity(mask)} sparse, not {sparsity}."
            )
        weights = parameters_in_scope(model, mask)
        return Mask({name: self._pruned(weights[name], tensor) for name, tensor in mask.items()})

    def _zeros(self, mask: Mask) -> int:
        kept = [
            self._groups(tensor).sum(-1).clamp(max=self.kept) if self._applies(tensor) else tensor
            for tensor in mask.values()
        ]
        return mask.total - sum(int(counts.sum()) for counts in kept)

    def _pruned(self, weight: Tensor, mask: Tensor) -> Tensor:
        if not self._applies(mask):
            return mask
        left = self._groups(mask)
        magnitudes = self._groups(weight.detach().cpu().abs()).masked_fill(~left, -1)
        highest = torch.argsort(magnitudes, dim=-1, stable=True)[..., -self.kept :]  # of equals the first goes
        kept = torch.zeros_like(left).scatter(-1, highest, True) & left
        return kept.flatten(-2).movedim(-1, 1).contiguous()

    def _applies(self, mask: Tensor) -> bool:
        return mask.dim() > 1 and mask.shape[1] % self.of == 0

    def _groups(self, tensor: Tensor) -> Tensor:
        """Return [out, in, …] as [out, …, in / M, M]."""
        moved = tensor.movedim(1, -1)
        return moved.reshape(*moved.shape[:-1], -1, self.of)
