"""Which parameters may be pruned."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from dp_core.errors import UserError, nearest
from dp_core.models import layer_weights, recorded_products


@dataclass(frozen=True)
class Scope:
    """The weights whose names match.

    Weights are what multiplies activations as a matrix or a kernel: see `prunable_parameters`. A name is that of
    `named_parameters`, such as `blocks.0.weight`. It is in scope if it matches one of `include` and none of `exclude`,
    which are shell patterns (`*`, `?`, `[…]`). The default is every weight. Biases, norm parameters, embeddings and
    positions are never pruned.
    """

    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()

    def __contains__(self, name: str) -> bool:
        return _matches(name, self.include) and not _matches(name, self.exclude)

    def describe(self) -> str:
        """Return what is prunable in words."""
        words = "weights that multiply activations"
        if self.include != ("*",):
            words += f" named {' or '.join(self.include)}"
        if self.exclude:
            words += f" but not {' or '.join(self.exclude)}"
        return words


def prunable_parameters(model: nn.Module, scope: Scope | None = None) -> dict[str, nn.Parameter]:
    """Return the prunable parameters by name, in the model's order; a weight that two layers share is listed once.

    Those are the weights of torch's convolutions, linear and bilinear layers, attention and recurrent layers, whether
    a forward pass uses them or not. In a network from `build`, whose products have been observed, they are also the
    parameters of a user's own modules that multiply activations.

    Raises:
        UserError: the model has no such weight, or one that is computed from other parameters; a pattern of the scope
            matches none of them, or none is left.
    """
    products = recorded_products(model)
    weights = layer_weights(model).keys() | (products.uses.keys() if products else set())
    found = {name: parameter for name, parameter in model.named_parameters() if name in weights}
    if not found:
        raise UserError(
            f"The model {type(model).__name__} has no weights that multiply activations, so nothing to prune."
        )
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
