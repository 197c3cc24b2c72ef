"""Ctrl-C and SIGTERM: a clean end that says how to go on."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import typer


@contextmanager
def stoppable(run: str) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into a clean end that says how to go on, and keep standard output for the result."""
    stopped = False

    def interrupt(number: int, frame: Any) -> None:
        nonlocal stopped
        stopped = True
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with redirect_stdout(sys.stderr):
            yield
    except BaseException:
        # A library that was interrupted while it cleaned up may raise something else over the KeyboardInterrupt.
        if not stopped:
            raise
        print(f"\nStopped. Nothing that was finished is lost; go on with: winnow resume {run}", file=sys.stderr)
        raise typer.Exit(130) from None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
