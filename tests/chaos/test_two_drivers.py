"""Two drivers of one run: one goes on undisturbed, the other is told who does."""

from __future__ import annotations

import re
import time

import pytest

from tests.chaos import evidence
from tests.chaos.battering import resume
from tests.chaos.conftest import Undisturbed
from tests.chaos.figures import Figures
from tests.chaos.runs import Arena, told_by

pytestmark = [pytest.mark.ray, pytest.mark.chaos]


def test_a_second_driver_is_refused_and_the_first_not_disturbed(
    arena: Arena, undisturbed: Undisturbed, figures: Figures
) -> None:
    began, trials = figures.seconds, 12
    first = arena.start("search", "tiny.yaml", f"search.trials={trials}", pause=0.02)
    first.wait_until(lambda: arena.passes > 20, 240)
    arena.hold.touch()
    intruders = [arena.start("search", "tiny.yaml"), arena.start(*resume(arena)), arena.start(*resume(arena))]
    again, *others = [told_by(intruder, 240) for intruder in intruders]
    assert "winnow resume" in again.sentence
    for told in others:
        assert re.fullmatch(rf".* is already being driven by process {first.process.pid}\.", told.sentence)
    assert first.process.poll() is None
    arena.hold.unlink()
    assert told_by(first, 240).status == 0, first.output
    found = evidence.kept(arena.run)
    assert evidence.disagreements(arena.run, found, trials) == []
    for number, trial in found.items():
        assert evidence.result(trial) == evidence.result(undisturbed.trials[number])
    figures.add(
        "second driver", storage="journal", kills=0, trials=trials, lost=0, seconds=round(figures.seconds - began)
    )


def test_of_two_that_resume_at_once_one_does(arena: Arena, undisturbed: Undisturbed, figures: Figures) -> None:
    began, trials = figures.seconds, 12
    first = arena.start("search", "tiny.yaml", f"search.trials={trials}", pause=0.02)
    first.wait_until(lambda: arena.passes > 20, 240)
    first.kill(everything=True)
    arena.hold.touch()
    rivals = [arena.start(*resume(arena)) for _ in range(2)]
    while all(rival.process.poll() is None for rival in rivals):
        time.sleep(0.1)
    arena.hold.unlink()
    ends = [told_by(rival, 240) for rival in rivals]
    assert sorted(end.status for end in ends) == [0, 2], [end.output for end in ends]
    winner = rivals[[end.status for end in ends].index(0)]
    loser = max(ends, key=lambda end: end.status)
    assert f"is already being driven by process {winner.process.pid}." in loser.sentence
    found = evidence.kept(arena.run)
    assert evidence.disagreements(arena.run, found, trials) == []
    for number, trial in found.items():
        assert evidence.result(trial) == evidence.result(undisturbed.trials[number])
    figures.add("two resume", storage="journal", kills=1, trials=trials, lost=0, seconds=round(figures.seconds - began))
