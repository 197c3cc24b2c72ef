"""Ctrl-C and SIGTERM at moments that nobody chose: a clean end that says how to go on, and nothing lost."""

from __future__ import annotations

import random
import re
import shutil
import signal
import time

import pytest

from tests.chaos import evidence
from tests.chaos.battering import Toll, finish, resume
from tests.chaos.conftest import Undisturbed
from tests.chaos.evidence import Kept
from tests.chaos.figures import Figures
from tests.chaos.runs import Arena

pytestmark = [pytest.mark.ray, pytest.mark.chaos]

TRIALS, TIMES, STARTS = 30, 6, 6


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_asked_to_stop_it_does_so_cleanly(
    arena: Arena, undisturbed: Undisturbed, figures: Figures, number: signal.Signals
) -> None:
    draw, toll, slowest, began = random.Random(int(number)), Toll(), 0.0, figures.seconds
    before: dict[int, Kept] = {}
    command = ["search", "tiny.yaml", f"search.trials={TRIALS}"]
    for _ in range(TIMES):
        program = arena.start(*command, pause=0.15)
        # Before the run is there, there is nothing to go on with; from then on any moment will do.
        while str(arena.run) not in program.output and program.process.poll() is None:
            time.sleep(0.02)
        time.sleep(draw.uniform(0, 9))
        if program.process.poll() == 0:
            break
        asked = time.monotonic()
        assert program.signal(number, seconds=90) == 130, program.output
        slowest = max(slowest, time.monotonic() - asked)
        assert "Traceback" not in program.output, program.output
        last = program.output.rstrip().splitlines()[-1]
        assert re.search(r"go on with: winnow resume (\S*/)?runs/tiny$", last), program.output
        assert program.survivors() == []
        after = evidence.kept(arena.run)
        toll.compare(before, after)
        before, command = after, resume(arena)
        toll.kills += 1
        figures.say(f"stopped {toll.kills} of {TIMES} times, {toll.ended_before} trials had ended")
    _, trials = finish(arena, toll, TRIALS)
    figures.add(
        "Ctrl-C" if number == signal.SIGINT else "SIGTERM",
        storage="journal",
        trial="2 s",
        kills=toll.kills,
        trials=TRIALS,
        lost=len(toll.lost),
        changed=len(toll.changed),
        slowest_stop=round(slowest, 1),
        seconds=round(figures.seconds - began),
    )
    assert toll.kills >= 4
    assert (toll.lost, toll.changed, toll.forgotten) == ([], [], [])
    for index, trial in trials.items():
        assert evidence.result(trial) == evidence.result(undisturbed.trials[index])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_asked_to_stop_while_ray_starts_it_does_so_cleanly(
    arena: Arena, figures: Figures, number: signal.Signals
) -> None:
    slowest, began = 0.0, figures.seconds
    moments = [0.8 * step for step in range(STARTS)]
    for moment in moments:
        program = arena.start("search", "tiny.yaml", "search.trials=2")
        while "estimate" not in program.output and program.process.poll() is None:  # said before Ray is started
            time.sleep(0.02)
        time.sleep(moment)
        asked = time.monotonic()
        assert program.signal(number, seconds=90) == 130, program.output
        slowest = max(slowest, time.monotonic() - asked)
        assert "Traceback" not in program.output, program.output
        last = program.output.rstrip().splitlines()[-1]
        begun = arena.run.exists()
        assert last.endswith("winnow resume runs/tiny" if begun else "The run had not begun."), program.output
        assert program.survivors() == []
        shutil.rmtree(arena.folder / "runs", ignore_errors=True)
    figures.add(
        f"{'Ctrl-C' if number == signal.SIGINT else 'SIGTERM'} while Ray starts",
        storage="journal",
        kills=STARTS,
        slowest_stop=round(slowest, 1),
        seconds=round(figures.seconds - began),
    )
