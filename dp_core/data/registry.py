"""Formats of data and augmentations by name; a new one of either is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dp_core.errors import UserError, nearest
from dp_core.registry import Registry

if TYPE_CHECKING:
    from dp_core.data.augmentation import Augmentation
    from dp_core.data.reading import Reading
    from dp_core.data.source import Source

FORMATS: Registry[Callable[[Path, Reading], Source]] = Registry(
    {
        "parquet": "dp_core.data.parquet:parquet_source",
        "folder": "dp_core.data.folder:folder_source",
        "cifar10": "dp_core.data.torchvision_source:cifar10_source",
        "cifar100": "dp_core.data.torchvision_source:cifar100_source",
    }
)

AUGMENTATIONS: Registry[Augmentation] = Registry(
    {
        "none": "dp_core.data.augmentation:identity",
        "flip_crop": "dp_core.data.augmentation:flip_crop",
        "siamese": "dp_core.data.augmentation:siamese",
    }
)

# Of these the folder has to be there; torchvision makes its own.
_IN_FOLDERS = ("parquet", "folder")


def check_format(format: str, root: Path | None) -> None:
    """See that there is such a format of data, and the folder that it is in; nothing is read.

    Args:
        format: a name in `FORMATS`; a user's `package.module:function` is not looked at.
        root: the folder that holds the data.

    Raises:
        UserError: there is none, or no such folder.
    """
    if ":" in format:
        return
    if format not in FORMATS:
        known = ", ".join(FORMATS)
        raise UserError(
            f"The data format '{format}' is unknown; known are {known} and package.module:function."
            f"{nearest(format, FORMATS)}"
        )
    if root is None:
        raise UserError(f"The data format '{format}' needs 'data.root', the folder that holds the data.")
    if format in _IN_FOLDERS and not root.is_dir():
        raise UserError(f"There is no data folder {root}.")
