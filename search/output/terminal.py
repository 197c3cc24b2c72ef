"""Tables for a terminal, a log file or a pipe."""

from __future__ import annotations

import sys

from rich.console import Console


def console_of_width(width: int) -> Console:
    """Return a console as wide as the terminal; in a log file or a pipe a table is as wide as it needs to be."""
    return Console() if sys.stdout.isatty() else Console(width=width)
