"""The memory that a model's parameters are in, which a network around it may change and a training relies on."""

from __future__ import annotations

from torch import nn


class Layout:
    """The memory that a model's parameters are in, to go back to while their values are the same."""

    def __init__(self, model: nn.Module) -> None:
        self._memory = [(parameter, parameter.data) for parameter in model.parameters()]

    def restore(self) -> None:
        """Give every parameter that was laid out anew the memory it had."""
        for parameter, memory in self._memory:
            if parameter.stride() != memory.stride():
                parameter.data = memory
