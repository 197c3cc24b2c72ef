from __future__ import annotations

import math

import pytest

from search.config.objectives import objectives_of
from search.report.front import front, growth
from tests.search.report.report_rows import trial_row

TWO = objectives_of(["accuracy", "parameters"])


def trial(number: int, accuracy: float, parameters: int, **changes: object) -> dict[str, object]:
    return trial_row(number, str(changes.pop("state", "COMPLETE")), accuracy, parameters_left=parameters, **changes)


TRIALS = [
    trial(0, 0.2, 100),
    trial(1, 0.5, 300),
    trial(2, 0.4, 300),  # dominated by 1
    trial(3, 0.3, 200),
    trial(4, 0.9, 10, state="PRUNED"),
    trial(5, 0.9, 10, broken_constraints="max_flops"),
    trial(6, math.nan, 10, score=math.nan),
    trial(7, 0.1, 400, source="real"),  # the only one of its source
]


def test_the_front_by_hand() -> None:
    assert [row["trial"] for row in front(TRIALS, TWO)] == [1, 3, 0, 7]


def test_its_growth_by_hand() -> None:
    """Accuracies 0.2, 0.5, 0.4, 0.3 scale to 0, 1, ⅔, ⅓, parameters 100, 300, 300, 200 to gains 1, 0, 0, ½.

    No vector but that of trial 3 is better than the worst in both: it dominates ⅓ · ½.
    """
    grown = growth(TRIALS, TWO)
    assert grown["distilled"] == [(1, 0), (2, 0), (3, 0), (4, pytest.approx(1 / 6))]
    assert list(grown) == ["distilled", "real"]


def test_many_trials_have_at_most_forty_moments() -> None:
    trials = [trial(number, 0.001 * number, number) for number in range(1000)]
    moments = growth(trials, TWO)["distilled"]
    assert (len(moments), moments[0][0], moments[-1][0]) == (40, 1, 1000)
    volumes = [volume for _, volume in moments]
    assert volumes == sorted(volumes)


def test_four_objectives_have_no_hypervolume() -> None:
    assert growth(TRIALS, objectives_of(["accuracy", "parameters", "flops", "seconds"])) == {}
