"""The mask of a training, on the network's device."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

_FIRST_MOMENTS = ("momentum_buffer", "exp_avg")  # of SGD; of Adam and AdamW


class KeptWeights:
    """Which weights of a network there are; the others are zero.

    The mask changes in place, so that a recorded step sees the new one.

    Args:
        model: the network, on its device.
        mask: for the parameters that are pruned, by name, a bool tensor of the weights that are kept.
    """

    def __init__(self, model: nn.Module, mask: Mapping[str, Tensor]) -> None:
        parameters = dict(model.named_parameters())
        self._parameters = {name: parameters[name] for name in mask}
        self._removed = {name: ~kept.to(parameters[name].device) for name, kept in mask.items()}

    @property
    def mask(self) -> dict[str, Tensor]:
        """A copy, on the CPU."""
        return {name: ~removed.cpu() for name, removed in self._removed.items()}

    def apply_(self) -> None:
        """Set the weights that are removed to exactly zero."""
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.masked_fill_(self._removed[name], 0)

    def change_(self, mask: Mapping[str, Tensor], optimizer: torch.optim.Optimizer | None = None) -> None:
        """Take another mask of the same parameters.

        Weights that were removed and are there again begin at zero and, in `optimizer`, without momentum (Evci et al.
        2020). What it knows of the size of their gradients is kept: they have had gradients all the time, and Adam
        would make a step of three times its rate if it knew of the first one only.
        """
        for name, parameter in self._parameters.items():
            removed, kept = self._removed[name], mask[name].to(parameter.device)
            if optimizer is not None:
                grown = removed & kept
                state = optimizer.state.get(parameter, {})
                for key in _FIRST_MOMENTS:
                    if isinstance(state.get(key), Tensor):
                        state[key].masked_fill_(grown, 0)
            removed.copy_(~kept)
        self.apply_()
