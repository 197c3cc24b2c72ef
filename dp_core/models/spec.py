"""A network described by a name and hyperparameters, and building it."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dp_core.errors import UserError, in_one_line, nearest
from dp_core.files import digest_of_file
from dp_core.models.alexnet import alexnet
from dp_core.models.convnet import convnet
from dp_core.models.initialisation import INITIALISATIONS, initialise
from dp_core.models.lazy import materialise
from dp_core.models.limits import require_known
from dp_core.models.nasbench201 import nasbench201
from dp_core.models.products import record_products, recorded_products
from dp_core.models.resnet import resnet18, resnet20
from dp_core.models.vgg import vgg11, vgg16
from dp_core.models.vit import vit
from dp_core.source_code import combined, sources_of

Builder = Callable[..., nn.Module]

# A new architecture is one file with one function and one line here. The function takes the input shape (channels,
# height, width) and the number of classes, then its hyperparameters by keyword, each with a default.
ARCHITECTURES: Mapping[str, Builder] = {
    "convnet": convnet,
    "alexnet": alexnet,
    "resnet20": resnet20,
    "resnet18": resnet18,
    "vgg11": vgg11,
    "vgg16": vgg16,
    "vit": vit,
    "nasbench201": nasbench201,
}

# The one hyperparameter that every model has, a user's own included: how `build` draws its weights.
_INITIALISATION = "initialisation"


@dataclass(frozen=True)
class ModelSpec:
    """A registry name or a user's `package.module:function`, with the hyperparameters to call it with.

    Beside those of the architecture, every model has the hyperparameter `initialisation`, one of INITIALISATIONS (see
    `initialise`); a user's function that has a parameter of this name itself gets it instead.
    """

    name: str
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return a plain dict that `from_dict` reads back."""
        return {"name": self.name, **self.hyperparameters}

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> ModelSpec:
        """Read what `to_dict` wrote: `name` and the hyperparameters beside it."""
        if "name" not in value:
            raise UserError(f"A model needs a 'name', one of {', '.join(ARCHITECTURES)} or 'package.module:function'.")
        return ModelSpec(str(value["name"]), {key: entry for key, entry in value.items() if key != "name"})

    def label(self) -> str:
        """Return a short text for tables, such as `convnet depth=3 width=64 instance`: numbers by name, words alone."""
        parts = (
            str(value) if isinstance(value, str) else f"{key}={value}" for key, value in self.hyperparameters.items()
        )
        return " ".join([self.name, *parts])


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
    builder = _builder(spec.name)
    hyperparameters, initialisation = _arguments(spec, builder)
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        try:
            model = builder(input_shape, classes, **hyperparameters)
            _require_module(spec, model)
            materialise(model, input_shape)
            initialise(model, initialisation)
        except UserError:
            raise
        except (Exception, SystemExit) as error:  # whatever a user's function may raise
            raise UserError(f"The model '{spec.label()}' cannot be built: {_told(error)}.") from error
    record_products(model, input_shape, spec.label())
    return model


def with_defaults(spec: ModelSpec) -> ModelSpec:
    """Return the same network with every hyperparameter written out that its function has a default of.

    So two specs that say the same in other words are equal. One whose function cannot be had stays as it is.
    """
    try:
        defaults = _defaults(_builder(spec.name))
    except UserError:
        return spec
    return ModelSpec(spec.name, {**defaults, **spec.hyperparameters})


def source_digest(spec: ModelSpec) -> str | None:
    """Return a digest of a user's own function: of its module and all of the user's that this imports.

    What was found out about a network is about another one when its source says something else. Of a function that is
    installed it is the digest of its file; None for Winnow's own architectures.

    Raises:
        UserError: the function cannot be imported.
    """
    if spec.name in ARCHITECTURES:
        return None
    function = inspect.unwrap(_builder(spec.name))
    modules = {spec.name.partition(":")[0], getattr(function, "__module__", None) or ""} - {""}
    sources = {name: digest for module in sorted(modules) for name, digest in sources_of(module).items()}
    if sources:
        return combined(sources)
    try:
        file = inspect.getsourcefile(function)
    except TypeError:  # it is no Python function
        file = None
    return None if file is None or not Path(file).is_file() else digest_of_file(Path(file))


def _told(error: BaseException) -> str:
    told, kind = in_one_line(error), type(error).__name__
    return told if told == kind else f"{kind}: {told}"


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


def _builder(name: str) -> Builder:
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    module_name, separator, function_name = name.partition(":")
    if not separator:
        raise UserError(
            f"There is no architecture '{name}'.{nearest(name, ARCHITECTURES)} "
            f"Known: {', '.join(ARCHITECTURES)}, or your own as 'package.module:function'."
        )
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (Exception, SystemExit) as error:  # a user's module may raise anything, a script's argparse exits
        raise UserError(f"The model '{name}' cannot be imported: {_told(error)}.") from error
    if not callable(function):
        raise UserError(f"The model '{name}' is not a function.")
    return function  # type: ignore[no-any-return]


def _arguments(spec: ModelSpec, builder: Builder) -> tuple[dict[str, Any], str]:
    """Return what to call the builder with, and what initialisation to do afterwards."""
    known, takes_any = _keywords(builder)
    if not takes_any:
        _check_hyperparameters(spec, known)
    hyperparameters = dict(spec.hyperparameters)
    if _INITIALISATION in known:
        return hyperparameters, "default"
    initialisation = hyperparameters.pop(_INITIALISATION, "default")
    require_known(f"The architecture '{spec.name}'", _INITIALISATION, initialisation, INITIALISATIONS)
    return hyperparameters, initialisation


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
    every = [*known, *([] if _INITIALISATION in known else [_INITIALISATION])]
    for key in spec.hyperparameters:
        if key not in every:
            raise UserError(
                f"The architecture '{spec.name}' has no hyperparameter '{key}'.{nearest(key, every)} "
                f"It has: {', '.join(every)}."
            )
