"""One run on a bad day: it loses a worker, then its driver, then bits of its files, and a second driver comes along."""

from __future__ import annotations

import pytest

from tests.chaos import evidence
from tests.chaos.battering import resume
from tests.chaos.damage import flip, half_done
from tests.chaos.figures import Figures
from tests.chaos.runs import Arena, told_by

pytestmark = pytest.mark.ray

TRIALS = 9


def test_a_run_survives_a_bad_day(arena: Arena, figures: Figures) -> None:
    """Its trials' results follow from their numbers: every third fails, the others have three rounds and a ticket."""
    first = arena.start("search", "tiny.yaml", f"search.trials={TRIALS}", "promote.audit=0", pause=0.1)
    first.wait_until(lambda: arena.passes > 6, 240)
    assert first.kill_worker(min)

    def in_the_middle() -> bool:
        trials = evidence.kept(arena.run)
        return sum(trial.ended for trial in trials.values()) >= 3 and bool(half_done(arena.run, trials))

    first.wait_until(in_the_middle, 240)
    first.kill(everything=True)
    before = evidence.kept(arena.run)
    flip(checkpoint := half_done(arena.run, before)[0] / "state.pt")
    flip(arena.run / "study.journal")

    arena.hold.touch()
    second = arena.start(*resume(arena))
    second.wait_until(lambda: "screening " in second.output, 240)
    refused = arena.winnow(*resume(arena))
    assert refused.sentence.endswith(f"is already being driven by process {second.process.pid}.")
    arena.hold.unlink()
    told = told_by(second, 240)

    assert told.status == 0, told.output
    after = evidence.kept(arena.run)
    assert evidence.disagreements(arena.run, after, TRIALS) == []
    assert {number: trial for number, trial in before.items() if trial.ended}.items() <= after.items()
    assert [number for number, trial in after.items() if trial.state == "FAIL"] == [2, 5, 8]
    assert [len(after[number].rounds) for number in range(TRIALS)] == [3, 3, 1] * 3
    assert after[2].reason == "the loss became nan by step 4 of 4"
    assert len(told.naming("study.journal")) == 1, told.output
    named = told.naming(f"{checkpoint.parent.parent.name}/{checkpoint.parent.name}")
    assert len([line for line in named if "damaged" in line]) == 1, told.output
    figures.add("one bad day", storage="journal", kills=2, trials=TRIALS, lost=0, changed=0)
