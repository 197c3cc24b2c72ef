"""Samplers that are not ours: of OptunaHub, and the user's own."""

from __future__ import annotations

import importlib
import traceback
import warnings
from collections.abc import Callable
from typing import Any

from optuna.samplers import BaseSampler

from dp_core.errors import UserError, nearest

HUB = "optunahub:"


def import_sampler(name: str, seed: int) -> BaseSampler:
    """Return the sampler `optunahub:PACKAGE:Class`, or what the user's `package.module:function` makes.

    Args:
        name: what the config calls it.
        seed: given as the keyword `seed`.

    Raises:
        UserError: it cannot be found, takes no seed, fails or is no Optuna sampler.
    """
    what = f"The sampler '{name}'"
    maker = _from_hub(name) if name.startswith(HUB) else _imported(name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # experimental, as everything of OptunaHub is
            sampler = maker(seed=seed)
    except (Exception, SystemExit) as error:  # a user's function may raise anything
        frames = traceback.extract_tb(error.__traceback__)
        place = f" at {frames[-1].filename}, line {frames[-1].lineno}" if len(frames) > 1 else ""
        raise UserError(
            f"{what} could not be made with seed={seed}: {type(error).__name__}{place}: {error}."
        ) from error
    if not isinstance(sampler, BaseSampler):
        raise UserError(f"{what} must be an Optuna sampler, not {type(sampler).__name__}.")
    return sampler


def _imported(name: str) -> Callable[..., Any]:
    module_name, _, attribute = name.partition(":")
    what = f"The sampler '{name}'"
    if not module_name or not attribute:
        raise UserError(f"{what} must be of the form package.module:function.")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a user's module may raise anything
        raise UserError(f"{what} cannot be imported: {type(error).__name__}: {error}.") from error
    return _attribute(what, module, module_name, attribute)


def _from_hub(name: str) -> Callable[..., Any]:
    package, _, attribute = name.removeprefix(HUB).rpartition(":")
    what = f"The sampler '{name}'"
    if not package or not attribute:
        raise UserError(
            f"{what} must be of the form optunahub:package:Class, such as optunahub:samplers/auto_sampler:AutoSampler."
        )
    try:
        hub = importlib.import_module("optunahub")
    except ImportError as error:
        raise UserError(f"{what} needs OptunaHub: install it with pip install 'winnow[hub]'.") from error
    try:
        module = hub.load_module(package)
    except (Exception, SystemExit) as error:  # not there, no network, or a package of its own that is missing
        raise UserError(f"{what} cannot be loaded from OptunaHub: {type(error).__name__}: {error}.") from error
    return _attribute(what, module, package, attribute)


def _attribute(what: str, module: Any, module_name: str, attribute: str) -> Callable[..., Any]:
    found = getattr(module, attribute, None)
    if not callable(found):
        hint = nearest(attribute, vars(module))
        raise UserError(f"{what} cannot be used: {module_name} has no function '{attribute}'.{hint}")
    maker: Callable[..., Any] = found
    return maker
