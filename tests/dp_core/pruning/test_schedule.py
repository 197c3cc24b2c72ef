from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp_core.errors import UserError
from dp_core.pruning import check_sparsity, geometric_schedule, schedule_through, sparsity_schedule


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


@pytest.mark.parametrize(
    ("target", "rounds", "expected"),
    [
        (0.75, 2, (0.0, 0.5, 0.75)),
        (0.875, 3, (0.0, 0.5, 0.75, 0.875)),
        (0.5904, 4, (0.0, 0.2, 0.36, 0.488, 0.5904)),
        (0.9, 1, (0.0, 0.9)),
        (0.0, 3, (0.0,)),
    ],
)
def test_geometric_schedules_worked_out_by_hand(target: float, rounds: int, expected: tuple[float, ...]) -> None:
    assert geometric_schedule(target, rounds) == pytest.approx(expected, abs=1e-12)


@given(st.floats(1e-6, 0.999999), st.integers(1, 50))
def test_a_geometric_schedule_removes_the_same_fraction_every_round(target: float, rounds: int) -> None:
    schedule = geometric_schedule(target, rounds)
    assert (schedule[0], schedule[-1], len(schedule)) == (0, target, rounds + 1)
    assert all(after > before for before, after in itertools.pairwise(schedule))
    left = [(1 - after) / (1 - before) for before, after in itertools.pairwise(schedule)]
    assert left == pytest.approx([(1 - target) ** (1 / rounds)] * rounds, rel=1e-9)


@pytest.mark.parametrize(
    ("targets", "fraction", "expected"),
    [
        ([0.75], 0.5, (0.0, 0.5, 0.75)),
        ([0.0, 0.75], 0.5, (0.0, 0.5, 0.75)),
        ([0.0], 0.5, (0.0,)),
        ([0.5, 0.875], 0.5, (0.0, 0.5, 0.75, 0.875)),
        ([0.3], 0.2, (0.0, 0.16334, 0.3)),  # one round is 0.1 off; two remove 1 - √0.7 = 0.1633 each, 0.037 off
        ([0.25], 0.2, (0.0, 0.25)),  # 0.05 off; two would remove 1 - √0.75 = 0.134 each, 0.066 off
        ([0.01, 0.02], 0.5, (0.0, 0.01, 0.02)),  # closer than a round, but each is passed through
    ],
)
def test_schedules_through_targets_worked_out_by_hand(
    targets: list[float], fraction: float, expected: tuple[float, ...]
) -> None:
    assert schedule_through(targets, fraction) == pytest.approx(expected, abs=1e-5)


rising = st.lists(st.integers(1, 999).map(lambda n: n / 1000), min_size=1, max_size=5, unique=True).map(sorted)


@given(rising, st.floats(0.02, 0.9))
def test_no_other_number_of_rounds_comes_nearer_to_the_fraction(targets: list[float], fraction: float) -> None:
    schedule = schedule_through(targets, fraction)
    assert schedule[0] == 0
    assert set(targets) <= set(schedule), "exactly, not nearly"
    assert schedule[-1] == targets[-1]
    stops = [0, *(schedule.index(target) for target in targets)]
    for first, last in itertools.pairwise(stops):
        steps = schedule[first : last + 1]
        ratio = (1 - steps[-1]) / (1 - steps[0])
        removed = [1 - (1 - after) / (1 - before) for before, after in itertools.pairwise(steps)]
        assert removed == pytest.approx([1 - ratio ** (1 / len(removed))] * len(removed), rel=1e-6)
        nearest = min(abs(1 - ratio ** (1 / rounds) - fraction) for rounds in range(1, 400))
        assert abs(removed[0] - fraction) == pytest.approx(nearest, abs=1e-9)


def test_a_schedule_may_go_on_from_a_mask() -> None:
    assert schedule_through([0.75, 0.875], 0.5, start=0.5) == pytest.approx((0.5, 0.75, 0.875), abs=1e-12)
    assert schedule_through([0.5, 0.875], 0.5, start=0.5) == pytest.approx((0.5, 0.75, 0.875), abs=1e-12)
    assert schedule_through([0.5], 0.5, start=0.5) == (0.5,)
    with pytest.raises(UserError, match=r"mask that is 0\.5 sparse cannot be brought to a sparsity of 0\.4"):
        schedule_through([0.4, 0.9], 0.5, start=0.5)
    with pytest.raises(UserError, match=r"from 0 to below 1, not 1\.0"):
        schedule_through([0.4, 0.9], 0.5, start=1.0)


@pytest.mark.parametrize(
    ("targets", "fraction", "message"),
    [
        ([0.5, 1.0], 0.2, "sparsity must be from 0 to below 1, not 1.0"),
        ([-0.5], 0.2, "sparsity must be from 0 to below 1, not -0.5"),
        ([float("nan")], 0.2, "sparsity must be from 0 to below 1, not nan"),
        ([0.5, 0.3], 0.2, r"passes through must rise, which \[0\.5, 0\.3\] do not"),
        ([0.5, 0.5], 0.2, "must rise"),
        ([0.0, 0.0], 0.2, "must rise"),
        ([], 0.2, "at least one sparsity to pass through"),
        ([0.5], 1.0, r"fraction pruned a round must be at least 0\.001 and below 1, not 1.0"),
        ([0.5], 0.0, r"fraction pruned a round must be at least 0\.001 and below 1, not 0.0"),
    ],
)
def test_impossible_targets_are_refused(targets: list[float], fraction: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        schedule_through(targets, fraction)


def test_impossible_geometric_schedules_are_refused() -> None:
    with pytest.raises(UserError, match="at least one round, not 0"):
        geometric_schedule(0.5, 0)
    with pytest.raises(UserError, match="from 0 to below 1"):
        geometric_schedule(1.0, 3)
