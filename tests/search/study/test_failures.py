"""When failures in a row are too many, and what is told of them."""

from __future__ import annotations

from search.study.failures import FailureStreak


def test_the_last_reason_and_how_many_are_told_at_the_limit() -> None:
    streak = FailureStreak(3)
    assert streak.failed("OSError: gone") is None
    assert streak.failed("ValueError: 3 channels") is None
    told = str(streak.failed("no memory\n  for 12 MB."))
    assert told == "3 trials in a row failed, the last with: no memory for 12 MB."


def test_a_trial_that_ends_well_ends_the_streak() -> None:
    streak = FailureStreak(2)
    assert streak.failed("a") is None
    streak.ended_well()
    assert streak.failed("b") is None
    assert streak.failed("c") is not None


def test_one_failure_may_be_enough_and_a_long_reason_is_cut_short() -> None:
    told = str(FailureStreak(1).failed("ValueError: " + "word " * 100))
    assert told.startswith("a trial failed with: ValueError: word word")
    assert told.endswith("word ….")
    assert len(told) <= len("a trial failed with: ") + 300 + 1
