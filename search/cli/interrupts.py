"""Ctrl-C and SIGTERM: a clean end that says how to go on."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import typer


@contextmanager
def stoppable(run: str, begun: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into a clean end that says how to go on, and keep standard output for the result.

    Args:
        run: path or name of the run.
        begun: whether there is something to go on with.
    """
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
        told = f"Nothing that was finished is lost; go on with: winnow resume {shlex.quote(run)}"
        print(f"\nStopped. {told if begun() else 'The run had not begun.'}", file=sys.stderr)
        raise typer.Exit(130) from None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
