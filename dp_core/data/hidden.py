"""Names of files and folders that systems and programs leave beside data, and that are not data."""

from __future__ import annotations

_LEFT_BEHIND = frozenset(
    {"__macosx", "@eadir", "$recycle.bin", "lost+found", "system volume information", "thumbs.db", "desktop.ini"}
)


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name, and whatever lies below it, is not data."""
    return name.startswith(".") or name.casefold() in _LEFT_BEHIND
