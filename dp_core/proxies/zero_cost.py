"""What zero-cost proxies share: one value of a network as it is initialised, without training."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import nn

from dp_core.errors import UserError
from dp_core.models import ModelSpec
from dp_core.proxies.base import ProxyInputs, Reading, Stopwatch
from dp_core.pruning import prunable_parameters
from dp_core.pruning.criteria.gradients import exact_arithmetic
from dp_core.seeds import generator


class ZeroCost(ABC):
    """A Proxy with one reading of key "": a subclass says what its value is and how many images that takes.

    It computes in float32 unless it says otherwise, without compiled kernels. Those that look at data take the network
    in training mode, in which batch norm uses the statistics of the batch, as the literature's code does: an untrained
    network has no others. The seconds include building the network and drawing the images.
    """

    @property
    def keys(self) -> tuple[str, ...]:
        """The one key, ""."""
        return ("",)

    @property
    def image_gradients(self) -> int:
        """Number of images that a score passes forward and backward."""
        return 0

    @property
    def forward_images(self) -> int:
        """Number of images that a score passes forward only."""
        return 0

    def check(self, inputs: ProxyInputs) -> None:
        """See Proxy; any data will do, unless a subclass says otherwise."""
        return None

    @abstractmethod
    def value(self, network: nn.Module, inputs: ProxyInputs, seed: int) -> float:
        """Return the value of `network`, which is its own to change.

        Gradients are on, and torch's global generators are seeded and put back afterwards.
        """

    def score(self, spec: ModelSpec, inputs: ProxyInputs, seed: int) -> tuple[Reading, ...]:
        """See Proxy.

        Raises:
            UserError: also where the network has no weight, or the value is no finite number.
        """
        inputs.preprocessing  # noqa: B018  made once for all architectures: the first is not to pay for it
        watch = Stopwatch(inputs.device)
        network = inputs.network(spec, seed)
        with exact_arithmetic(prunable_parameters(network), generator(seed, "zero cost")):
            value = self.value(network, inputs, seed)
        if not math.isfinite(value):
            raise UserError(
                f"{type(self).__name__} has no finite score for '{spec.label()}': what it computes leaves the range "
                "of floating point."
            )
        seconds, processor_seconds = watch.read()
        return (Reading("", value, seconds, processor_seconds, self.image_gradients, self.forward_images),)


@dataclass(frozen=True)
class OnBatch(ZeroCost):
    """A zero-cost proxy that looks at real training images: by default at one balanced batch, forward and backward."""

    images: int = 64
    """Training images in a batch, at least 2; 64 as in the code of Abdelfattah et al. (2021)."""

    def __post_init__(self) -> None:
        require_at_least(2, self, images=self.images)

    @property
    def image_gradients(self) -> int:
        """One pass forward and backward over the batch."""
        return self.images

    def check(self, inputs: ProxyInputs) -> None:
        """Raise UserError unless every class has its part of the batch."""
        each = math.ceil(self.images / inputs.classes)
        for label, name in enumerate(inputs.train.class_names):
            available = len(inputs.train.class_indices(label))
            if available < each:
                raise UserError(
                    f"The proxy {type(self).__name__} takes batches of {self.images} training images, {each} of a "
                    f"class, but the class '{name}' has {available}."
                )


def require_at_least(least: int, proxy: object, **settings: object) -> None:
    """Refuse every one of a proxy's `settings` that is not a whole number of at least `least`.

    Raises:
        UserError: names the proxy, the setting and its value.
    """
    for key, number in settings.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < least:
            name = type(proxy).__name__
            raise UserError(f"The proxy {name} needs its '{key}' to be a whole number from {least} on, not {number!r}.")


def require_positive(proxy: object, **settings: object) -> None:
    """Refuse every one of a proxy's `settings` that is not a finite number above 0.

    Raises:
        UserError: names the proxy, the setting and its value.
    """
    for key, number in settings.items():
        if not isinstance(number, int | float) or isinstance(number, bool) or not 0 < number < math.inf:
            raise UserError(
                f"The proxy {type(proxy).__name__} needs its '{key}' to be a number above 0, not {number!r}."
            )
