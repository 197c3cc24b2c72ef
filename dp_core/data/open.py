"""Opening a data set by the name of its format; a new format is one file and one line here."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from dp_core.data.cache import open_cached
from dp_core.data.dataset import ImageDataset
from dp_core.data.folder import folder_source
from dp_core.data.parquet import parquet_source
from dp_core.data.source import Source
from dp_core.data.splits import Splits, hold_back
from dp_core.data.torchvision_source import cifar10_source, cifar100_source
from dp_core.errors import UserError, nearest

FORMATS: Mapping[str, Callable[[Path], Source]] = MappingProxyType(
    {
        "parquet": parquet_source,
        "folder": folder_source,
        "cifar10": cifar10_source,
        "cifar100": cifar100_source,
    }
)


def open_splits(format: str, root: Path, *, cache: Path, validation: float, seed: int) -> Splits:
    """Open a data set and hold back part of its train split for validation.

    Args:
        format: a name in `FORMATS`, or `package.module:function` (see `open_train_test`).
        root: the folder (or whatever else a user's function takes) that holds the data.
        cache: the folder for decoded images; made if need be.
        validation: the fraction of train to hold back from every class, between 0 and 1.
        seed: decides which images are held back, and nothing else.

    Raises:
        UserError: the format is unknown, the data are not as the format says, or a class is too small to split.
    """
    train, test = open_train_test(format, root, cache=cache)
    train, held_back = hold_back(train, validation, seed)
    return Splits(train, held_back, test)


def open_train_test(format: str, root: Path, *, cache: Path) -> tuple[ImageDataset, ImageDataset]:
    """Open a data set as (train, test).

    A `format` of the form `package.module:function` names a function of the user's that is called with `root` and
    returns (train, test), two `ImageDataset`s of the same classes and image shape. The cache is not used for those.

    Raises:
        UserError: the format is unknown, the data are not as the format says, or a user's function failed.
    """
    if ":" in format:
        return _open_with_function(format, root)
    if format not in FORMATS:
        known = ", ".join(FORMATS)
        raise UserError(
            f"The data format '{format}' is unknown; known are {known} and package.module:function."
            f"{nearest(format, FORMATS)}"
        )
    return open_cached(FORMATS[format](root), cache)


def _open_with_function(format: str, root: Path) -> tuple[ImageDataset, ImageDataset]:
    function = _imported(format)
    try:
        found = function(root)
    except UserError:
        raise
    except Exception as error:
        raise _failed(f"The data format '{format}' failed on {root}", error) from error
    match found:
        case (ImageDataset() as train, ImageDataset() as test):
            pass
        case _:
            raise UserError(f"The data format '{format}' must return two ImageDatasets, not {type(found).__name__}.")
    if train.class_names != test.class_names:
        raise UserError(f"The data format '{format}' returned train and test sets of different classes.")
    if train.image_shape != test.image_shape:
        raise UserError(
            f"The data format '{format}' returned train images of shape {train.image_shape}, "
            f"but test images of shape {test.image_shape}."
        )
    return train, test


def _imported(format: str) -> Callable[[Path], object]:
    name, _, attribute = format.partition(":")
    if not name or not attribute:
        raise UserError(f"The data format '{format}' must be of the form package.module:function.")
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"The data format '{format}' cannot be imported: {error}.") from error
    except Exception as error:
        raise _failed(f"The data format '{format}' cannot be imported", error) from error
    function = getattr(module, attribute, None)
    if not callable(function):
        hint = nearest(attribute, vars(module))
        raise UserError(f"The data format '{format}' cannot be used: {name} has no function '{attribute}'.{hint}")
    found: Callable[[Path], object] = function
    return found


def _failed(what: str, error: Exception) -> UserError:
    """Say where the user's own code went wrong: the last line of theirs that was running."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}, line {frames[-1].lineno}" if frames else ""
    return UserError(f"{what}: {type(error).__name__}{place}: {error}.")
