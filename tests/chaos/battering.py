"""Killing the driver of one run again and again at random moments, and counting what that cost."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import evidence
from tests.chaos.evidence import Kept
from tests.chaos.figures import Figures
from tests.chaos.runs import Arena, Told
from tests.search.processes import Program


@dataclass(frozen=True)
class Pace:
    """How long a trial of three rounds takes, how often the driver of so many trials dies, and how long it may work."""

    pause: float
    kills: int
    trials: int
    working: float
    starting: float = 12.0


# A trial has three rounds of four passes.
FAST = Pace(pause=0.025, kills=20, trials=60, working=2.0)
SLOW = Pace(pause=0.4, kills=10, trials=16, working=6.0)


@dataclass
class Toll:
    """What the kills cost: how many there were, and what was not as it was before one of them."""

    kills: int = 0
    everything: int = 0
    ended_before: int = 0
    lost: list[int] = field(default_factory=list)
    changed: list[int] = field(default_factory=list)
    forgotten: list[int] = field(default_factory=list)  # rounds or parameters of a trial that was still running

    def compare(self, before: dict[int, Kept], after: dict[int, Kept]) -> None:
        """Note every trial that is not what it was."""
        self.ended_before = sum(trial.ended for trial in before.values())
        for number, trial in before.items():
            again = after.get(number)
            known = (evidence.NOTHING_PROPOSED, again.candidate if again else "")
            if again is None:
                self.lost.append(number)
            elif trial.ended and again != trial:
                self.changed.append(number)
            elif again.rounds[: len(trial.rounds)] != trial.rounds or trial.candidate not in known:
                self.forgotten.append(number)


def batter(
    arena: Arena, first: list[str], pace: Pace, seed: int, figures: Figures, database: Path | None = None
) -> Toll:
    """Start a run with the arguments `first`, kill its driver at so many random moments, and look at it each time.

    Every other kill takes all of Ray's processes with it; the others leave them to notice by themselves, while the
    next driver starts already.
    """
    draw, toll = random.Random(seed), Toll()
    before: dict[int, Kept] = {}
    finished = False
    while toll.kills < pace.kills:
        program = arena.start(*(resume(arena) if (arena.run / "run.yaml").exists() else first), pause=pace.pause)
        _wait(arena, program, draw, pace, early=finished or draw.random() < 0.2)
        if program.process.poll() is not None:
            assert program.process.returncode == 0, program.output
            finished = True
            continue
        everything = draw.random() < 0.5
        program.kill(everything=everything)
        toll.kills += 1
        toll.everything += everything
        after = evidence.kept(arena.run, database)
        toll.compare(before, after)
        before = after
        ended = sum(trial.ended for trial in after.values())
        figures.say(f"kill {toll.kills} of {pace.kills}, {'all' if everything else 'driver'}: {ended} trials had ended")
    return toll


def _wait(arena: Arena, program: Program, draw: random.Random, pace: Pace, *, early: bool) -> None:
    """Wait for a random moment: of the start, or after this driver's trials have begun to train."""
    if early:
        _sleep(program, draw.uniform(0, pace.starting))
        return
    known = arena.passes
    while arena.passes == known and program.process.poll() is None:
        time.sleep(0.02)
    _sleep(program, draw.uniform(0, pace.working))


def _sleep(program: Program, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and program.process.poll() is None:
        time.sleep(0.01)


def resume(arena: Arena) -> list[str]:
    """Return the command that takes the run on."""
    return ["resume", str(arena.run.relative_to(arena.folder))]


def finish(arena: Arena, toll: Toll, trials: int, database: Path | None = None) -> tuple[Told, dict[int, Kept]]:
    """Take the run to its end, undisturbed, and see that everything in it agrees."""
    before = evidence.kept(arena.run, database)
    told = arena.winnow(*resume(arena))
    assert told.status == 0, told.output
    after = evidence.kept(arena.run, database)
    toll.compare(before, after)
    assert evidence.disagreements(arena.run, after, trials) == []
    return told, after
