"""Training on a few real images drawn at random: what a distilled set of the same size has to beat."""

from __future__ import annotations

from dataclasses import dataclass

from dp_core.distillation.base import check_images_per_class, draw_images
from dp_core.models import ModelSpec
from dp_core.proxies.base import ProxyInputs, Reading
from dp_core.proxies.short_training import ShortTraining, Source
from dp_core.proxies.zero_cost import require_at_least
from dp_core.seeds import generator
from dp_core.training import TrainingData


@dataclass(frozen=True)
class RandomSubset(ShortTraining):
    """What an architecture learns from `ipc` real images of each class, drawn anew for every seed.

    One seed draws the same images for all architectures. They go through what all real images go through.
    """

    ipc: int = 10
    """Images a class, at least 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(1, self, ipc=self.ipc)

    def check(self, inputs: ProxyInputs) -> None:
        """See Proxy."""
        check_images_per_class(inputs.train, self.ipc)

    def score(self, spec: ModelSpec, inputs: ProxyInputs, seed: int) -> tuple[Reading, ...]:
        """See Proxy."""
        self.check(inputs)  # or there would silently be fewer images
        train, space = inputs.train, inputs.preprocessing
        drawn = draw_images(train, self.ipc, generator(seed, "subset"))
        data = TrainingData(train.images[drawn], train.labels[drawn], space).to(inputs.device)
        return self.readings(spec, inputs, Source(data, space), seed)
