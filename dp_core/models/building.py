"""Building the network that a spec describes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dp_core.errors import UserError, kind_and_line, nearest
from dp_core.models.checkpoint import load_weights
from dp_core.models.initialisation import INITIALISATIONS, initialise
from dp_core.models.lazy import materialise
from dp_core.models.limits import require_known
from dp_core.models.products import record_products, recorded_products
from dp_core.models.registry import Builder, builder_named
from dp_core.models.spec import WEIGHTS, ModelSpec

# A hyperparameter that every model has, a user's own included: how `build` draws its weights.
_INITIALISATION = "initialisation"


def build(spec: ModelSpec, input_shape: tuple[int, int, int], classes: int, *, seed: int | None = None) -> nn.Module:
    """Build the network that `spec` describes.

    Args:
        spec: architecture and hyperparameters.
        input_shape: channels, height, width of one image.
        classes: number of outputs.
        seed: draws the initial weights from this seed and leaves torch's global generator as it was; without one
            they come from the global generator.

    Returns:
        A module that maps float images [N, C, H, W] to logits [N, classes]. Lazy layers have their weights.

    Raises:
        UserError: unknown architecture or hyperparameter, or one that does not fit the input.
    """
    builder = builder_named(spec.name)
    hyperparameters, initialisation, weights = _arguments(spec, builder)
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        try:
            model = builder(input_shape, classes, **hyperparameters)
            _require_module(spec, model)
            materialise(model, input_shape)
            initialise(model, initialisation)
            if weights is not None and not _is_outline(model):
                load_weights(model, Path(str(weights)), spec.label())
        except UserError:
            raise
        except (Exception, SystemExit) as error:  # whatever a user's function may raise
            raise UserError(f"The model '{spec.label()}' cannot be built: {kind_and_line(error)}.") from error
    record_products(model, input_shape, spec.label())
    return model


def with_defaults(spec: ModelSpec) -> ModelSpec:
    """Return the same network with every hyperparameter written out that its function has a default of.

    So two specs that say the same in other words are equal. One whose function cannot be had stays as it is.
    """
    try:
        defaults = _defaults(builder_named(spec.name))
    except UserError:
        return spec
    return ModelSpec(spec.name, {**defaults, **spec.hyperparameters})


def outline(spec: ModelSpec, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return the network that `spec` describes without memory for its weights (torch's meta device), to be looked at.

    A user's network that cannot be built or run so is built in earnest. Arguments, errors and generators are as in
    `build`.
    """
    with suppress(Exception), torch.device("meta"):
        model = build(spec, input_shape, classes, seed=0)
        if recorded_products(model) is not None:
            return model
    # A user's network may need the numbers, which a tensor without memory does not have.
    return build(spec, input_shape, classes, seed=0)


def _require_module(spec: ModelSpec, model: object) -> None:
    if not isinstance(model, nn.Module):
        raise UserError(f"The model '{spec.name}' is {type(model).__name__}, not a torch module.")


def _is_outline(model: nn.Module) -> bool:
    """Return whether there is no memory for the weights."""
    return any(parameter.is_meta for parameter in model.parameters())


def _arguments(spec: ModelSpec, builder: Builder) -> tuple[dict[str, Any], str, object]:
    """Return what to call the builder with, what initialisation to do afterwards, and what weights to load."""
    known, takes_any = _keywords(builder)
    if not takes_any:
        _check_hyperparameters(spec, known)
    hyperparameters = dict(spec.hyperparameters)
    weights = None if WEIGHTS in known else hyperparameters.pop(WEIGHTS, None)
    if _INITIALISATION in known:
        return hyperparameters, "default", weights
    initialisation = hyperparameters.pop(_INITIALISATION, "default")
    require_known(f"The architecture '{spec.name}'", _INITIALISATION, initialisation, INITIALISATIONS)
    return hyperparameters, initialisation, weights


@functools.lru_cache(maxsize=256)
def _defaults(builder: Builder) -> Mapping[str, Any]:
    """Return the defaults of what a function takes by name, and of what every model has."""
    known, _ = _keywords(builder)
    found = {} if _INITIALISATION in known else {_INITIALISATION: "default"}
    try:
        parameters = inspect.signature(builder).parameters
    except ValueError:
        return found
    empty = inspect.Parameter.empty
    own = {name: parameters[name].default for name in known if name in parameters}
    return {**found, **{name: default for name, default in own.items() if default is not empty}}


def _keywords(builder: Builder) -> tuple[list[str], bool]:
    """Return what a function takes by name beside input shape and classes, and whether it takes any other name too."""
    try:
        parameters = list(inspect.signature(builder).parameters.values())
    except ValueError:  # some functions in C do not say what they take
        return [], True
    kinds = {parameter.kind for parameter in parameters}
    named = [parameter.name for parameter in parameters[2:] if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
    return named, inspect.Parameter.VAR_KEYWORD in kinds


def _check_hyperparameters(spec: ModelSpec, known: list[str]) -> None:
    every = [*known, *(name for name in (_INITIALISATION, WEIGHTS) if name not in known)]
    for key in spec.hyperparameters:
        if key not in every:
            raise UserError(
                f"The architecture '{spec.name}' has no hyperparameter '{key}'.{nearest(key, every)} "
                f"It has: {', '.join(every)}."
            )
