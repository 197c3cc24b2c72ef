"""How fast an architecture learns: the sum of its training losses, without a held-back image."""

from __future__ import annotations

from dataclasses import dataclass

from dp_core.errors import UserError
from dp_core.models import ModelSpec
from dp_core.proxies.base import ProxyInputs, Reading
from dp_core.proxies.distilled_training import set_named
from dp_core.proxies.short_training import Measure, ShortTraining, Source, of_set

REAL = "real"
"""The source of real training images."""


@dataclass(frozen=True)
class TrainingSpeed(ShortTraining):
    """Training Speed Estimation (Ru et al. 2021, arXiv 2006.04492): minus the sum of the losses of a short training."""

    measures: tuple[Measure, ...] = ("speed",)
    """`speed`, `late_speed` or both."""
    source: str = REAL
    """`real`, all training images, or the name of a distilled set."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if {"accuracy", "calibrated", "loss"} & {*self.measures}:
            raise UserError("Training speed is measured without held-back images: by speed, late_speed or both.")

    def check(self, inputs: ProxyInputs) -> None:
        """See Proxy."""
        if self.source != REAL:
            set_named(self.source, inputs, REAL).check_fits(inputs.input_shape, inputs.train.class_names)

    def score(self, spec: ModelSpec, inputs: ProxyInputs, seed: int) -> tuple[Reading, ...]:
        """See Proxy."""
        if self.source == REAL:
            source = Source(inputs.real, inputs.preprocessing)
        else:
            source = of_set(set_named(self.source, inputs, REAL), inputs.device)
        return self.readings(spec, inputs, source, seed)
