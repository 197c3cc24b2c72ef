"""Which parameters may be pruned."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from dp_core.errors import UserError, nearest

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


@dataclass(frozen=True)
class Scope:
    """The weights of convolutions and linear layers whose names match.

    A name is that of `named_parameters`, such as `blocks.0.weight`. It is in scope if it matches one of `include` and
    none of `exclude`, which are shell patterns (`*`, `?`, `[…]`). The default is every convolution and linear weight.
    Biases and norm parameters are never pruned.
    """

    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()

    def __contains__(self, name: str) -> bool:
        return _matches(name, self.include) and not _matches(name, self.exclude)

    def describe(self) -> str:
        """Return what is prunable in words."""
        words = "weights of convolutions and linear layers"
        if self.include != ("*",):
            words += f" named {' or '.join(self.include)}"
        if self.exclude:
            words += f" but not {' or '.join(self.exclude)}"
        return words


def prunable_parameters(model: nn.Module, scope: Scope | None = None) -> dict[str, nn.Parameter]:
    """Return the prunable parameters by name, in the model's order; a weight that two layers share is listed once.

    Raises:
        UserError: the model has no convolution or linear layer, a pattern of the scope matches none of them, or none
            is left.
    """
    owned = {id(module.weight) for module in model.modules() if isinstance(module, _LAYERS)}
    found = {name: parameter for name, parameter in model.named_parameters() if id(parameter) in owned}
    if not found:
        raise UserError(f"The model {type(model).__name__} has no convolution or linear layer, so nothing to prune.")
    if scope is None:
        return found
    for pattern in (*scope.include, *scope.exclude):
        if not any(fnmatchcase(name, pattern) for name in found):
            raise UserError(
                f"The prunable scope has the pattern '{pattern}', which matches no weight of the model."
                f"{nearest(pattern, found)} There are: {', '.join(found)}."
            )
    chosen = {name: parameter for name, parameter in found.items() if name in scope}
    if not chosen:
        raise UserError(f"The prunable scope leaves nothing to prune of {', '.join(found)}.")
    return chosen


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
