"""What a run says while it works, one line an event."""

from __future__ import annotations

import time

from rich.console import Console


class Progress:
    """Prints lines with the time since the start; silent when `quiet`."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
        self._started = time.monotonic()
        self._last_step: dict[str, float] = {}

    def say(self, phase: str, text: str) -> None:
        """Print one line."""
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        self._console.print(f"[dim]{minutes:3d}:{seconds:02d}[/dim] [bold]{phase:10s}[/bold] ", end="")
        self._console.print(text, markup=False)

    def step(self, phase: str, done: int, total: int, text: str, *, every: float = 5.0) -> None:
        """Print a line for a step of long work, at most one every `every` seconds, with the time left; the last always.

        The estimate takes the time since the first step for granted.
        """
        now = time.monotonic()
        first = self._last_step.setdefault(f"{phase} first", now)
        due = now - self._last_step.get(phase, first) >= every
        if not due and done < total:
            return
        self._last_step[phase] = now
        if done >= total:
            del self._last_step[f"{phase} first"], self._last_step[phase]
        left = (now - first) / max(done - 1, 1) * (total - done)
        self.say(phase, f"{done}/{total} {text}" + (f", about {left:.0f} s left" if done < total else ""))
