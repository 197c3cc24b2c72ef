"""What trials that fail in a row have in common, in one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from search.study.failures import FailureStreak

ODD = "ValueError: 3 channels, not 4"


def told(
    failed: Sequence[tuple[Mapping[str, Any], str]], well: Sequence[Mapping[str, Any]], limit: int | None = None
) -> str | None:
    streak = FailureStreak(len(failed) if limit is None else limit)
    for params in well:
        streak.ended_well(params)
    for number, (params, reason) in enumerate(failed):
        streak.add(number, params, reason)
    return None if streak.broken is None else str(streak.broken)


def test_values_that_only_the_failed_have_are_named() -> None:
    failed = [({"model.norm": "batch", "source": "real", "depth": 3, "width": width}, ODD) for width in (16, 32, 16)]
    well = [{"model.norm": norm, "source": "subset", "depth": 3, "width": 16} for norm in ("none", "instance", "none")]
    assert told(failed, well) == (
        "3 trials in a row failed, the last with: ValueError: 3 channels, not 4 (all 3 alike); "
        "they have model.norm = batch and source = real in common, which none of the 3 others has."
    )


def test_a_range_of_numbers_that_no_other_is_in_is_named() -> None:
    failed = [({"lr": rate, "width": width, "flag": True}, ODD) for rate, width in ((0.51234, 8), (0.9, 64))]
    well = [{"lr": 0.5, "width": 16, "flag": True}, {"lr": 0.95, "width": 64, "flag": False}]
    sentence = told(failed, well)
    assert sentence is not None
    assert "they have lr from 0.5123 to 0.9 in common, which none of the 2 others has." in sentence
    # 0.6 is within.
    sentence = told(failed, [*well, {"lr": 0.6, "width": 16, "flag": False}])
    assert sentence is not None
    assert sentence.endswith("they have flag = true in common, but so has 1 of the 3 others.")


def test_values_that_others_have_too_may_be_telling_together() -> None:
    failed = [({"a": 1, "b": "x", "c": index % 2}, ODD) for index in range(4)]
    apart = [{"a": 1, "b": "y", "c": 0}, {"a": 2, "b": "x", "c": 1}]
    assert (told(failed, apart) or "").endswith(
        "they have a = 1 and b = x in common, all of which none of the 2 others has."
    )
    assert (told(failed, [*apart, {"a": 1, "b": "x", "c": 0}]) or "").endswith(
        "they have a = 1 and b = x in common, but so has 1 of the 3 others."
    )


def test_without_others_or_anything_in_common_it_says_so() -> None:
    same = [({"a": 1, "lr": rate}, ODD) for rate in (0.1, 0.2)]
    assert (told(same, []) or "").endswith("they have a = 1 in common, and no other has ended well.")
    different = [({"a": value}, ODD) for value in ("x", "y")]
    assert (told(different, []) or "").endswith("; they have nothing in common.")
    assert (told(different, [{"a": "x"}]) or "").endswith("; they have nothing in common that the others have not.")
    # A parameter that only some have (by its conditions) is not in common.
    assert (told([({"m": 0.5}, ODD), ({}, ODD)], []) or "").endswith("; they have nothing in common.")


def test_reasons_are_grouped_without_their_numbers() -> None:
    reasons = ["no memory for 12 MB", "OSError: gone", "no memory for 3.5 MB", "no\n  memory for 1e9 MB."]
    failed: list[tuple[dict[str, Any], str]] = [({}, reason) for reason in reasons]
    assert (told(failed, []) or "").startswith(
        "4 trials in a row failed, the last with: no memory for 1e9 MB (3 so, 1 with: OSError: gone); "
    )
    many: list[tuple[dict[str, Any], str]] = [({}, reason) for reason in ("a", "b", "b", "c", "d", "e")]
    assert (told(many, []) or "").startswith(
        "6 trials in a row failed, the last with: e (1 so, 2 with: b, 1 with: a, 2 more reasons); "
    )


def test_a_success_ends_the_streak_and_a_failure_said_twice_counts_once() -> None:
    streak = FailureStreak(2)
    streak.add(0, {}, ODD)
    streak.ended_well({})
    streak.add(1, {}, ODD)
    streak.add(1, {}, "again")
    assert streak.broken is None
    streak.add(2, {}, ODD)
    assert streak.broken is not None


@pytest.mark.parametrize(
    ("well", "expected"),
    [([], "a = 1, and no other has ended well"), ([{"a": 2}], "a = 1, which none of the 1 others has")],
)
def test_one_failure_may_be_enough(well: list[Mapping[str, Any]], expected: str) -> None:
    assert told([({"a": 1}, ODD)], well) == f"a trial failed with: ValueError: 3 channels, not 4; it has {expected}."


def test_a_thousand_times_the_same_candidate_is_kept_once() -> None:
    streak = FailureStreak(1)
    for _ in range(1000):
        streak.ended_well({"a": 1})
    assert len(streak._well) == 1
    streak.add(0, {"a": 1, "b": 2}, ODD)
    assert "b = 2, which none of the 1000 others has" in str(streak.broken)
