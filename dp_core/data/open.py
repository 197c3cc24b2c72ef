"""Opening a data set by the name of its format."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

from dp_core.data.cache import Opened, open_cached
from dp_core.data.dataset import ImageDataset
from dp_core.data.findings import Findings
from dp_core.data.identity import contents_digest, image_digests
from dp_core.data.reading import USUAL, Reading
from dp_core.data.registry import FORMATS, check_format
from dp_core.data.source import Origin
from dp_core.data.splits import Splits, hold_back
from dp_core.errors import UserError
from dp_core.functions import failed, imported_function


def open_splits(
    format: str, root: Path | None, *, cache: Path, validation: float, seed: int, reading: Reading = USUAL
) -> Splits:
    """Open a data set and hold back part of its train split for validation.

    Args:
        format: a name in `FORMATS`, or `package.module:function` (see `open_train_test`).
        root: the folder that holds the data; a user's function may do without.
        cache: the folder for decoded images; made if need be.
        validation: the fraction of train to hold back from every class, between 0 and 1.
        seed: decides which images are held back, and nothing else.
        reading: how the format is read.

    Raises:
        UserError: the format is unknown, the data are not as the format says, or a class is too small to split.
    """
    found = open_data(format, root, cache=cache, reading=reading)
    train, held_back = hold_back(found.train, validation, seed)
    return Splits(train, held_back, found.test, found.origin)


def open_train_test(
    format: str, root: Path | None, *, cache: Path, reading: Reading = USUAL
) -> tuple[ImageDataset, ImageDataset]:
    """Return the two splits of `open_data`."""
    found = open_data(format, root, cache=cache, reading=reading)
    return found.train, found.test


def open_data(format: str, root: Path | None, *, cache: Path, reading: Reading = USUAL) -> Opened:
    """Open a data set.

    A `format` of the form `package.module:function` names a function of the user's that returns (train, test), two
    `ImageDataset`s of the same classes and image shape. It is called with `root`, which may be None; without anything
    if it takes nothing, or `root` is None and it has a default. The cache is not used for those, and their digest is
    that of their contents, whatever the function says.

    Raises:
        UserError: the format is unknown, the data are not as the format says, or a user's function failed.
    """
    if ":" in format:
        reading.refuse(format, "image", "label", "ground")
        return _open_with_function(format, root)
    check_format(format, root)
    assert root is not None
    return open_cached(FORMATS[format](root, reading), cache)


def _open_with_function(format: str, root: Path | None) -> Opened:
    function = imported_function(format, "The data format")
    try:
        found = function(*_arguments(function, root))
    except UserError:
        raise
    except Exception as error:
        where = " without 'data.root'" if root is None else f" on {root}"
        raise failed(f"The data format '{format}' failed{where}", error) from error
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
    return _identified(train, test, format)


def _arguments(function: Callable[..., object], root: Path | None) -> tuple[Path | None, ...]:
    """Return what a user's function is called with."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a callable that does not say what it takes
        return (root,)
    takes = [each for each in parameters if each.kind not in (each.KEYWORD_ONLY, each.VAR_KEYWORD)]
    if not takes or (root is None and takes[0].default is not takes[0].empty):
        return ()
    return (root,)


def _identified(train: ImageDataset, test: ImageDataset, format: str) -> Opened:
    """Return the data with the digests of their contents, and with what is odd about them."""
    digests = [image_digests(part.images) for part in (train, test)]
    parts = [
        ImageDataset(
            part.images,
            part.labels,
            part.class_names,
            contents_digest(part.image_shape, own, part.labels, part.class_names),
        )
        for part, own in zip((train, test), digests, strict=True)
    ]
    findings = Findings()
    findings.count_copies([*digests[0], *digests[1]], len(train))
    return Opened(parts[0], parts[1], Origin(format, format, findings.sentences(USUAL.ground)))
