"""Workers die under their trials: each goes on from its checkpoint, and nobody can tell afterwards."""

from __future__ import annotations

import random
import time

import pytest

from tests.chaos import evidence
from tests.chaos.conftest import Undisturbed
from tests.chaos.figures import Figures
from tests.chaos.runs import Arena

pytestmark = [pytest.mark.ray, pytest.mark.chaos]


def test_workers_killed_every_other_second_change_nothing(
    arena: Arena, undisturbed: Undisturbed, figures: Figures
) -> None:
    trials, kills, draw, began = 15, 0, random.Random(11), figures.seconds
    program = arena.start(
        "search", "tiny.yaml", f"search.trials={trials}", "resources.max_failures=1000", "promote.audit=0", pause=0.15
    )
    while program.process.poll() is None:
        time.sleep(draw.uniform(1.5, 3.5))
        if program.kill_worker(draw.choice):
            kills += 1
            figures.say(f"worker {kills} killed")
        assert figures.seconds - began < 1200, program.output
    assert program.process.returncode == 0, program.output
    found = evidence.kept(arena.run)
    unlike = [
        number
        for number, trial in found.items()
        if evidence.result(trial) != evidence.result(undisturbed.trials[number])
    ]
    figures.add(
        "workers killed",
        storage="journal",
        trial="2 s",
        kills=kills,
        trials=len(found),
        lost=trials - len(found),
        changed=len(unlike),
        seconds=round(figures.seconds - began),
    )
    assert kills >= 10
    assert unlike == []
    assert evidence.disagreements(arena.run, found, trials) == []
    for number, digests in evidence.tickets(arena.run).items():
        assert digests == undisturbed.tickets[number]
