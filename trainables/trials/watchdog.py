"""Ending a process that hangs, also where a C extension keeps Python itself from running."""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HUNG = "hung.txt"


@contextmanager
def watchdog(seconds: float | None, report: Path) -> Iterator[None]:
    """End this process with exit status 1 if the body takes longer than `seconds`; None lets it take any time.

    Where every thread was by then is written to `report`, a file that is there only meanwhile if all goes well. The
    clock is a thread that needs no interpreter lock, of which a process has one: bodies must not be nested.
    """
    if seconds is None:
        yield
        return
    with report.open("w", encoding="utf-8") as file:
        faulthandler.dump_traceback_later(seconds, exit=True, file=file)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            report.unlink(missing_ok=True)
