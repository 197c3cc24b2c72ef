"""What a run says while it works, one line an event."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from rich.console import Console

from search.output.wording import about


class Progress:
    """Prints lines with the time since the start; silent when `quiet`."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
        self._started = time.monotonic()
        self._works: dict[str, _Work] = {}

    def say(self, phase: str, text: str) -> None:
        """Print one line."""
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        self._console.print(f"[dim]{minutes:3d}:{seconds:02d}[/dim] [bold]{phase:10s}[/bold] ", end="")
        self._console.print(text, markup=False)

    def step(self, phase: str, done: int, total: int, text: str, *, every: float = 5.0) -> None:
        """Print a line for a step of long work, at most one every `every` seconds, with the time left; the last always.

        The estimate takes the time since the first step that was told for granted, which need not be step 1: work that
        goes on from a checkpoint begins in the middle. A step that is no later than the one before, or another total,
        is the beginning of other work.
        """
        now = time.monotonic()
        work = self._works.get(phase)
        if work is None or work.total != total or done <= work.done:
            work = self._works[phase] = _Work(began=now, first=done, total=total, told=now)
        work.done = done
        if now - work.told < every and done < total:
            return
        work.told = now
        if done >= total:
            del self._works[phase]
        left = (now - work.began) / max(done - work.first, 1) * (total - done)
        self.say(phase, f"{done}/{total} {text}" + (f", {about(left)} left" if done < total else ""))


@dataclass
class _Work:
    """Long work of one phase: when and at which step it began, its last step, and when a line was last printed."""

    began: float
    first: int
    total: int
    told: float
    done: int = -1


class Pace:
    """Tells how long jobs of several kinds will still take, by how long those took that are done.

    Args:
        at_once: jobs that run at a time.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._seconds: dict[str, list[float]] = {}

    def done(self, kind: str, seconds: float) -> None:
        """Take in that a job of this kind took so long."""
        self._seconds.setdefault(kind, []).append(seconds)

    def left(self, jobs: Mapping[str, int]) -> str:
        """Return what is said of so many jobs of each kind, `about 12 minutes left`; "" while a kind is not known."""
        waiting = {kind: count for kind, count in jobs.items() if count}
        if not waiting or not waiting.keys() <= self._seconds.keys():
            return ""
        seconds = sum(count * fmean(self._seconds[kind]) for kind, count in waiting.items())
        return f"{about(seconds / self._at_once)} left"


class Throttle:
    """Lets lines pass until there are too many of them: then some in a second, and a count of the others.

    Args:
        burst: lines that may come at once.
        per_second: lines a second after that.
    """

    def __init__(self, burst: int = 20, per_second: float = 2.0) -> None:
        self._burst, self._per_second = burst, per_second
        self._credit, self._since, self._held = float(burst), time.monotonic(), 0

    def passes(self) -> bool:
        """Return whether a line may be printed now; one that may not is counted."""
        now = time.monotonic()
        self._credit = min(self._credit + (now - self._since) * self._per_second, self._burst)
        self._since = now
        if self._credit < 1:
            self._held += 1
            return False
        self._credit -= 1
        return True

    def told(self) -> int:
        """Return how many lines were held back since this was last asked."""
        held, self._held = self._held, 0
        return held
