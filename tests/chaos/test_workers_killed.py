"""Workers die under their trials: each goes on from its checkpoint, and nobody can tell afterwards."""

from __future__ import annotations

import random
import time

import pytest

from tests.chaos import evidence
from tests.chaos.conftest import Undisturbed
from tests.chaos.figures import Figures
from tests.chaos.runs import Arena

pytestmark = pytest.mark.ray


@pytest.mark.chaos
def test_workers_killed_every_other_second_change_nothing(
    arena: Arena, undisturbed: Undisturbed, figures: Figures
) -> None:
    trials, kills, draw, began = 18, 0, random.Random(11), figures.seconds
    program = arena.start(
        "search", "tiny.yaml", f"search.trials={trials}", "search.max_failures=1000", "promote.audit=0", pause=0.4
    )
    while program.process.poll() is None:
        time.sleep(draw.uniform(1, 3))
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
        trial="5 s",
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


def test_a_lost_worker_costs_its_trial_nothing(arena: Arena) -> None:
    """Without a worker lost the same trials fail and finish: the third always overflows, the others never do."""
    program = arena.start("search", "tiny.yaml", "search.trials=3", "promote.audit=0", pause=0.1)
    program.wait_until(lambda: arena.passes > 6, 240)
    assert program.kill_worker(min)
    assert program.process.wait(240) == 0, program.output
    found = evidence.kept(arena.run)
    assert [trial.state for trial in found.values()] == ["COMPLETE", "COMPLETE", "FAIL"]
    assert [len(trial.rounds) for trial in found.values()] == [3, 3, 1]
    assert found[2].reason == "the loss became nan by step 4 of 4"
