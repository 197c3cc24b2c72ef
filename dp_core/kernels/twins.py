"""What modules keep beside parameters and buffers, for a model and the copy of it that is executed in its place."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from torch import Tensor, nn

from dp_core.kernels.formats import is_known

_KEPT = (Tensor, int, float, str, type(None))


class Twins:
    """A context in which the copy is called: before it knows what the model keeps, afterwards the model what it keeps.

    That is, of modules of a user's: buffers that were replaced (`self.mean = 0.9 * self.mean + …`) rather than changed
    in place, and attributes that are a tensor, number, text or None (`self.calls += 1`).

    Args:
        model: the model.
        copied: a copy with the same modules.
    """

    def __init__(self, model: nn.Module, copied: nn.Module) -> None:
        pairs = zip(model.modules(), copied.modules(), strict=True)
        self._pairs = [(vars(module), vars(twin)) for module, twin in pairs if not is_known(module)]

    def __enter__(self) -> None:
        for module, twin in self._pairs:
            _hand_over(module, twin)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for module, twin in self._pairs:
            _hand_over(twin, module)


def _hand_over(giver: dict[str, Any], taker: dict[str, Any]) -> None:
    for name, value in giver.items():
        if isinstance(value, _KEPT) and name != "training":
            taker[name] = value
    taker["_buffers"].update(giver["_buffers"])
