"""A rung that scores the untrained network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from dp_core.cost import CostModel
from dp_core.models import build
from dp_core.proxies import ProxyInputs
from dp_core.proxies.zero_cost import ZeroCost
from dp_core.pruning import Mask
from dp_core.seeds import derive_seed
from trainables.screening.context import ScreeningContext
from trainables.screening.round import Measures
from trainables.screening.rungs.base import FoundTicket, Look
from trainables.trials.candidate import Candidate


class ZeroCostRung:
    """One step: the score of the network that the trial's seed makes, as it is initialised, dense.

    The score of the row is the proxy's, accuracy and loss are NaN; seconds and image-gradients are those of the
    proxy's reading.
    """

    def __init__(
        self, context: ScreeningContext, candidate: Candidate, proxy: ZeroCost, seed: int, device: torch.device
    ) -> None:
        self._context, self._candidate, self._proxy = context, candidate, proxy
        self._seed, self._device = seed, device

    def step(self) -> Look:
        """Score the network."""
        context = self._context
        inputs = ProxyInputs(context.train.open(), context.validation.open(), context.sets, context.space, self._device)
        (reading,) = self._proxy.score(self._candidate.model, inputs, derive_seed(self._seed, "zero cost"))
        model = build(self._candidate.model, inputs.input_shape, inputs.classes, seed=0)
        cost = CostModel(model, inputs.input_shape)()
        return Look(
            measures=Measures(
                score=reading.value,
                proxy_accuracy=math.nan,
                proxy_loss=math.nan,
                sparsity=0.0,
                density=1.0,
                prunable_parameters=Mask.ones(model).total,
                parameters=cost.parameters,
                parameters_left=cost.parameters_left,
                flops_dense=cost.flops_dense,
                flops_remaining=cost.flops_remaining,
            ),
            predicted_classes=None,
            steps=0,
            status="finished",
            reason=None,
            seconds=reading.seconds,
            image_gradients=reading.image_gradients,
        )

    def found(self) -> FoundTicket | None:
        """None: nothing is pruned."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """Nothing: there is one step."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing: there is one step."""
