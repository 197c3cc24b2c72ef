"""Fronts, the order within them and hypervolumes, against definitions spelt out and numbers worked out by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from search.output.pareto import (
    epsilon_net_order,
    hypervolume,
    hypervolume_subset,
    non_dominated,
    non_dominated_ranks,
    normalised,
)

# Whole numbers from a small range: ties in an objective and copies of whole vectors are common.
GAINS = st.tuples(st.integers(1, 12), st.integers(1, 4)).flatmap(
    lambda shape: hnp.arrays(np.float64, shape, elements=st.integers(0, 4).map(float))
)


def dominates(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    return all(a >= b for a, b in zip(one, other, strict=True)) and any(a > b for a, b in zip(one, other, strict=True))


def unit_cells(gains: NDArray[np.float64]) -> int:
    """Count the unit cells between the origin and vectors of whole numbers."""
    cells = {cell for vector in gains for cell in itertools.product(*(range(int(gain)) for gain in vector))}
    return len(cells)


@given(GAINS)
def test_a_rank_is_the_longest_chain_of_vectors_that_dominate_one_another(gains: NDArray[np.float64]) -> None:
    ranks = non_dominated_ranks(gains)
    for vector, rank in zip(gains, ranks, strict=True):
        above = [ranks[other] for other in range(len(gains)) if dominates(gains[other], vector)]
        assert rank == (max(above) + 1 if above else 0)
    assert (non_dominated(gains) == (ranks == 0)).all()


def test_ranks_worked_out_by_hand() -> None:
    gains = np.array([[3.0, 1.0], [1.0, 3.0], [2.0, 2.0], [2.0, 1.0], [1.0, 1.0], [3.0, 1.0], [0.0, 3.0]])
    assert non_dominated_ranks(gains).tolist() == [0, 0, 0, 1, 2, 0, 1]


def test_a_nan_is_worse_than_every_number() -> None:
    gains = np.array([[1.0, math.nan], [1.0, -1e300], [math.nan, math.nan], [2.0, math.nan]])
    assert non_dominated_ranks(gains).tolist() == [1, 0, 2, 0]


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_there_is_nothing_to_rank_among_no_vectors(objectives: int) -> None:
    nothing = np.empty((0, objectives))
    assert non_dominated_ranks(nothing).tolist() == []
    assert non_dominated(nothing).tolist() == []
    assert epsilon_net_order(nothing).tolist() == []
    assert hypervolume_subset(nothing, 3).tolist() == []


def test_the_order_halves_a_line_and_halves_the_halves() -> None:
    # Best in the first objective, then the other end, the middle, and the quarters, the earlier first.
    line = np.array([[step, 8.0 - step] for step in range(9)])
    assert epsilon_net_order(line)[:5].tolist() == [8, 0, 4, 2, 6]
    assert epsilon_net_order(line, 3).tolist() == [8, 0, 4]


def test_the_unit_of_an_objective_does_not_change_the_order() -> None:
    gains = np.random.default_rng(0).random((30, 3))
    order = epsilon_net_order(gains).tolist()
    # Powers of two scale exactly.
    assert epsilon_net_order(gains * [1.0, 2.0**20, 2.0**-20]).tolist() == order


@given(GAINS)
def test_each_place_of_the_order_is_the_farthest_from_those_before_it(gains: NDArray[np.float64]) -> None:
    order = epsilon_net_order(gains).tolist()
    assert sorted(order) == list(range(len(gains)))
    scaled = normalised(gains)
    assert scaled[order[0], 0] == scaled[:, 0].max()
    for place in range(1, len(order)):
        distances = [
            min(math.dist(scaled[one], scaled[before]) for before in order[:place])
            for one in order[place:]  # the chosen first
        ]
        assert distances[0] == pytest.approx(max(distances))


def test_objectives_are_scaled_to_their_range_and_infinities_are_its_ends() -> None:
    gains = np.array([[1.0, 5.0], [3.0, 5.0], [2.0, 5.0], [math.inf, -math.inf], [math.nan, 5.0]])
    assert normalised(gains).tolist() == [[0.0, 0.0], [1.0, 0.0], [0.5, 0.0], [1.0, 0.0], [0.0, 0.0]]


@given(GAINS)
def test_the_hypervolume_of_whole_numbers_is_a_count_of_cells(gains: NDArray[np.float64]) -> None:
    assert hypervolume(gains, [0.0] * gains.shape[1]) == pytest.approx(unit_cells(gains))


def test_what_is_not_better_than_the_reference_everywhere_adds_nothing() -> None:
    gains = np.array([[3.0, 2.0], [9.0, 1.0], [0.5, 9.0]])
    assert hypervolume(gains, [1.0, 1.0]) == 2.0
    assert hypervolume(gains[1:], [1.0, 1.0]) == 0.0


@given(GAINS, st.integers(1, 5))
def test_the_subset_is_chosen_greedily(gains: NDArray[np.float64], k: int) -> None:
    chosen = hypervolume_subset(gains, k).tolist()
    assert len(chosen) == len(set(chosen)) == min(k, len(gains))
    shifted = normalised(gains) + 0.1
    reference = [0.0] * gains.shape[1]
    for place, position in enumerate(chosen):
        reached = [
            hypervolume(shifted[[*chosen[:place], one]], reference)
            for one in range(len(gains))
            if one not in chosen[:place]
        ]
        assert hypervolume(shifted[[*chosen[:place], position]], reference) == pytest.approx(max(reached))


@given(GAINS, st.integers(1, 4))
def test_the_subset_is_not_far_from_the_best_there_is(gains: NDArray[np.float64], k: int) -> None:
    shifted = normalised(gains) + 0.1
    reference = [0.0] * gains.shape[1]
    best = max(
        hypervolume(shifted[list(some)], reference)
        for some in itertools.combinations(range(len(gains)), min(k, len(gains)))
    )
    reached = hypervolume(shifted[hypervolume_subset(gains, k)], reference)
    assert reached >= (1 - 1 / math.e) * best - 1e-9


def test_copies_are_chosen_when_nothing_else_adds() -> None:
    gains = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.7, 0.7], [0.1, 0.1]])
    # 0.8 x 0.8 is the most; then 1.1 x 0.1 by its part beyond 0.8: 0.3 x 0.1, twice; the dominated and the copy add 0.
    assert hypervolume_subset(gains, 3).tolist() == [3, 0, 2]
    assert hypervolume_subset(gains, 9).tolist() == [3, 0, 2, 1, 4]
