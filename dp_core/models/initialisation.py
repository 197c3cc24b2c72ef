"""Drawing the first weights of a network, whatever its architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from dp_core.models.limits import require_known

# Standard deviations: kaiming √(2 / fan-in) (He et al. 2015, equation 10), xavier √(2 / (fan-in + fan-out)) (Glorot &
# Bengio 2010, equation 12). The uniform ones have the same: their bounds are √3 times as wide.
_DRAWS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "kaiming_normal": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
    "kaiming_uniform": lambda weight: nn.init.kaiming_uniform_(weight, nonlinearity="relu"),
    "xavier_normal": nn.init.xavier_normal_,
    "xavier_uniform": nn.init.xavier_uniform_,
}
INITIALISATIONS = ("default", *_DRAWS)


def initialise(model: nn.Module, initialisation: str) -> None:
    """Draw the weights of convolutions and linear layers anew from torch's generator, and set their biases to zero.

    Norms, embeddings and whatever else has parameters keep what they have. A weight that two layers share is drawn
    once.

    Args:
        model: is changed in place.
        initialisation: one of INITIALISATIONS; `default` leaves everything as the architecture made it.

    Raises:
        UserError: an unknown initialisation.
    """
    require_known("A model", "initialisation", initialisation, INITIALISATIONS)
    if initialisation == "default":
        return
    drawn: set[int] = set()
    for layer in model.modules():
        if not isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear):
            continue
        if id(layer.weight) not in drawn:
            _DRAWS[initialisation](layer.weight)
            drawn.add(id(layer.weight))
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
