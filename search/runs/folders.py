"""Whether a folder that a config names can be used."""

from __future__ import annotations

import os
from pathlib import Path

from dp_core.errors import UserError


def check_folder(folder: Path, key: str, *, written: bool = True) -> None:
    """Raise UserError unless a folder, named by `key`, can be made if need be and (if `written` here) be written to."""
    there = next(part for part in (folder.absolute(), *folder.absolute().parents) if part.exists())
    if not there.is_dir() or (written and not os.access(there, os.W_OK)):
        raise UserError(f"'{key}': nothing can be kept in {folder}, as {there} is no folder that can be written to.")
