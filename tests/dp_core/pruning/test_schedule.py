from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp_core.errors import UserError
from dp_core.pruning import check_sparsity, sparsity_schedule


@pytest.mark.parametrize(
    ("target", "fraction", "expected"),
    [
        (0.59, 0.2, (0.0, 0.2, 0.36, 0.488, 0.59)),  # 1 - 0.8⁴ = 0.5904 would be too far
        (0.5904, 0.2, (0.0, 0.2, 0.36, 0.488, 0.5904)),
        (0.595, 0.2, (0.0, 0.2, 0.36, 0.488, 0.595)),  # from 0.5904 it would be less than a tenth of a step: merged
        (0.61, 0.2, (0.0, 0.2, 0.36, 0.488, 0.5904, 0.61)),
        (0.9, 0.5, (0.0, 0.5, 0.75, 0.875, 0.9)),
        (0.1, 0.2, (0.0, 0.1)),
        (0.2, 0.2, (0.0, 0.2)),
        (0.0, 0.2, (0.0,)),
    ],
)
def test_schedules_worked_out_by_hand(target: float, fraction: float, expected: tuple[float, ...]) -> None:
    assert sparsity_schedule(target, fraction) == pytest.approx(expected, abs=1e-12)


def test_rounds_of_a_fifth_are_the_papers_sparsities() -> None:
    schedule = sparsity_schedule(1 - 0.8**20, 0.2)
    assert len(schedule) == 21  # the dense network and twenty rounds
    for round_, sparsity in {4: 0.59, 7: 0.79, 10: 0.89, 14: 0.956, 18: 0.982}.items():
        assert schedule[round_] == pytest.approx(sparsity, abs=5e-3)


@given(st.floats(0, 0.999), st.floats(0.01, 0.99))
def test_a_schedule_rises_from_zero_to_exactly_the_target(target: float, fraction: float) -> None:
    schedule = sparsity_schedule(target, fraction)
    assert schedule[0] == 0
    assert schedule[-1] == target
    removed = [1 - (1 - after) / (1 - before) for before, after in itertools.pairwise(schedule)]
    assert all(after > before for before, after in itertools.pairwise(schedule))
    assert removed[:-2] == pytest.approx([fraction] * len(removed[:-2]))
    assert all(share < 1.1 * fraction + 1e-9 for share in removed)  # merging adds at most a tenth of a step


@pytest.mark.parametrize(
    ("target", "fraction", "message"),
    [
        (1.0, 0.2, "sparsity must be from 0 to below 1, not 1.0"),
        (-0.1, 0.2, "sparsity must be from 0 to below 1, not -0.1"),
        (float("nan"), 0.2, "sparsity must be from 0 to below 1, not nan"),
        (0.5, 0.0, r"fraction pruned a round must be at least 0\.001 and below 1, not 0.0"),
        (0.5, 1.0, r"fraction pruned a round must be at least 0\.001 and below 1, not 1.0"),
        (0.5, float("nan"), r"fraction pruned a round must be at least 0\.001 and below 1, not nan"),
    ],
)
def test_impossible_schedules_are_refused(target: float, fraction: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        sparsity_schedule(target, fraction)


def test_a_sparsity_must_leave_a_weight_for_every_layer() -> None:
    sizes = {"first": 60, "second": 30, "third": 10}
    check_sparsity(0.0, sizes)
    check_sparsity(0.97, sizes)  # three weights for three layers
    with pytest.raises(UserError, match=r"0\.98 leaves 2 of 100 weights, too few for one in each of 3 layers"):
        check_sparsity(0.98, sizes)
    for impossible in (1.0, 1.5, -0.5, float("nan")):
        with pytest.raises(UserError, match="from 0 to below 1"):
            check_sparsity(impossible, sizes)
