"""GraSP: how much of the gradient's flow the weights keep up."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from dp_core.proxies.base import ProxyInputs
from dp_core.proxies.zero_cost import OnBatch, require_positive
from dp_core.pruning import Mask, prunable_parameters
from dp_core.pruning.criteria.gradients import training_loss
from dp_core.pruning.criteria.grasp import hessian_gradient_product


@dataclass(frozen=True)
class GraSP(OnBatch):
    """-Σ w (H g) over the weights w (see `prunable_parameters`) (Abdelfattah et al. 2021, section 3.1.2).

    g and H are the gradient and Hessian, with respect to these weights, of the cross-entropy of one batch in training
    mode (Wang et al. 2020). The sum is signed, as in the authors' code. A network whose output does not depend on the
    image scores 0, which is not always the lowest: where a norm follows every layer the sum is close to ‖g‖² and so
    positive, else it can be negative.
    """

    temperature: float = 1.0
    """What logits are divided by, above 0; 1 as in the code of Abdelfattah et al., not 200 as in Wang et al."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, temperature=self.temperature)

    @property
    def image_gradients(self) -> int:
        """Two passes over the batch: differentiating the gradient costs about as much again as the gradient."""
        return 2 * self.images

    def value(self, network: nn.Module, inputs: ProxyInputs, seed: int) -> float:
        """Return the sum."""
        weights = prunable_parameters(network)
        loss = training_loss(network, inputs.batch(self.images, seed), temperature=self.temperature)
        products = hessian_gradient_product(loss, weights, Mask.ones(network))
        return -sum(float((weight.detach() * products[name]).sum()) for name, weight in weights.items())
