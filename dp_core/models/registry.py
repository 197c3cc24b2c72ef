"""Architectures by name, Winnow's own and a user's."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from dp_core.errors import UserError, kind_and_line, nearest
from dp_core.registry import Registry

if TYPE_CHECKING:
    from torch import nn

Builder = Callable[..., "nn.Module"]

# A new architecture is one file with one function and one line here. The function takes the input shape (channels,
# height, width) and the number of classes, then its hyperparameters by keyword, each with a default.
ARCHITECTURES: Registry[Builder] = Registry(
    {
        "convnet": "dp_core.models.convnet:convnet",
        "alexnet": "dp_core.models.alexnet:alexnet",
        "resnet20": "dp_core.models.resnet:resnet20",
        "resnet18": "dp_core.models.resnet:resnet18",
        "vgg11": "dp_core.models.vgg:vgg11",
        "vgg16": "dp_core.models.vgg:vgg16",
        "vit": "dp_core.models.vit:vit",
        "nasbench201": "dp_core.models.nasbench201:nasbench201",
    }
)


def builder_named(name: str) -> Builder:
    """Return the function of a name in ARCHITECTURES, or a user's `package.module:function`.

    Raises:
        UserError: there is none, or its module cannot be imported.
    """
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
        raise UserError(f"The model '{name}' cannot be imported: {kind_and_line(error)}.") from error
    if not callable(function):
        raise UserError(f"The model '{name}' is not a function.")
    return function  # type: ignore[no-any-return]
