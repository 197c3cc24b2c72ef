"""Functions of a user's, named `package.module:function`."""

from __future__ import annotations

import importlib
import re
import traceback
from collections.abc import Callable
from typing import Any

from dp_core.errors import UserError, nearest

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def is_function_name(name: str) -> bool:
    """Return whether a name is of the form `package.module:function`; nothing is imported."""
    return _NAME.fullmatch(name) is not None


def imported_function(name: str, what: str) -> Callable[..., Any]:
    """Return the function, or class, of this name.

    Args:
        name: `package.module:function`.
        what: what it is to be, as an error's sentence begins, such as `The data format`.

    Raises:
        UserError: the name is of another form, its module cannot be imported, or has no such function.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise UserError(f"{what} '{name}' must be of the form package.module:function.")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UserError(f"{what} '{name}' cannot be imported: {error}.") from error
    except (Exception, SystemExit) as error:  # a user's module may raise anything, a script's argparse exits
        raise failed(f"{what} '{name}' cannot be imported", error) from error
    function = getattr(module, attribute, None)
    if not callable(function):
        hint = nearest(attribute, vars(module))
        raise UserError(f"{what} '{name}' cannot be used: {module_name} has no function '{attribute}'.{hint}")
    found: Callable[..., Any] = function
    return found


def failed(what: str, error: BaseException) -> UserError:
    """Say where the user's own code went wrong: the last line of theirs that was running."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}, line {frames[-1].lineno}" if frames else ""
    return UserError(f"{what}: {type(error).__name__}{place}: {error}.")
