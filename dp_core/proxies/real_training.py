"""Training on real data, stopped early: as many image-gradients as a distilled set gets, hardly an image twice."""

from __future__ import annotations

from dataclasses import dataclass

from dp_core.models import ModelSpec
from dp_core.proxies.base import ProxyInputs, Reading
from dp_core.proxies.short_training import ShortTraining, Source


@dataclass(frozen=True)
class RealDataTraining(ShortTraining):
    """What an architecture learns in a few steps from all real training images: the proxy to beat."""

    def score(self, spec: ModelSpec, inputs: ProxyInputs, seed: int) -> tuple[Reading, ...]:
        """See Proxy."""
        return self.readings(spec, inputs, Source(inputs.real, inputs.preprocessing), seed)
