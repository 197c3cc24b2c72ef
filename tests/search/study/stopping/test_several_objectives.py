"""Early stopping by several objectives: exactly MO-ASHA's rule, kept up as trials come."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from dp_core.errors import UserError
from search.config.models import EarlyStoppingSection
from search.output.pareto import epsilon_net_order, non_dominated_ranks
from search.study.stopping import Observation, build_stopping, check_stopping
from search.study.stopping.fronts import Fronts
from search.study.stopping.pareto_rung import ParetoRung
from search.study.stopping.rung import SortedRung

GAINS = st.tuples(st.integers(1, 30), st.integers(2, 4)).flatmap(
    lambda shape: hnp.arrays(np.float64, shape, elements=st.integers(0, 6).map(float))
)


def expected(seen: NDArray[np.float64], reduction_factor: int) -> bool:
    """Return whether the last of the vectors goes on, by sorting all of them anew."""
    ranks = non_dominated_ranks(seen)
    order: list[int] = []
    for rank in range(int(ranks.max()) + 1):
        front = np.flatnonzero(ranks == rank)
        order += front[epsilon_net_order(seen[front])].tolist()
    first = order[: max(len(seen) // reduction_factor, 1)]
    return any((seen[position] == seen[-1]).all() for position in first)


def agreeing(gains: NDArray[np.float64], reduction_factor: int) -> float:
    """Return the share of vectors on which a rung, told of them one by one, and `expected` say the same."""
    rung = ParetoRung(gains.shape[1], reduction_factor)
    same = [
        rung.promising(tuple(gains[place])) == expected(gains[: place + 1], reduction_factor)
        for place in range(len(gains))
    ]
    return sum(same) / len(same)


@given(GAINS, st.integers(1, 30))
def test_fronts_that_grow_are_those_of_sorting_all_anew(gains: NDArray[np.float64], count: int) -> None:
    fronts = Fronts(gains.shape[1])
    for place, vector in enumerate(gains):
        fronts.add(vector)
        fronts.sort_down_to(min(count, place + 1))
        ranks = non_dominated_ranks(gains[: place + 1])
        rank = 0
        while fronts.before(rank) < min(count, place + 1):
            assert sorted(fronts[rank].tolist()) == sorted(gains[: place + 1][ranks == rank].tolist())
            rank += 1
    assert len(fronts) == len(gains)


@pytest.mark.parametrize("objectives", [2, 3])
@pytest.mark.parametrize("reduction_factor", [2, 3])
def test_a_rung_says_what_sorting_all_anew_says(objectives: int, reduction_factor: int) -> None:
    # No two vectors are equally far from others here: what sorting anew says does not hang on the order of arrival.
    gains = np.random.default_rng(objectives).random((250, objectives))
    assert agreeing(gains, reduction_factor) == 1


@pytest.mark.parametrize("objectives", [2, 3])
def test_where_all_are_on_one_front_the_spread_decides(objectives: int) -> None:
    gains = np.random.default_rng(5).dirichlet(np.ones(objectives), 64)
    assert agreeing(gains, 2) == 1


def test_of_a_large_front_a_sample_is_sorted_and_the_same_share_goes_on() -> None:
    gains = np.random.default_rng(6).dirichlet(np.ones(3), 1000)
    rung = ParetoRung(3, 4)
    went_on = sum(rung.promising(tuple(vector)) for vector in gains)
    # A quarter of 1,000, whose standard deviation is 14 if each were drawn by lot.
    assert 200 < went_on < 300


@given(st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4, -math.inf, math.inf]), max_size=30), st.integers(2, 4))
def test_with_one_objective_it_is_the_rung_of_one_objective(gains: list[float], reduction_factor: int) -> None:
    one, several = SortedRung(reduction_factor), ParetoRung(1, reduction_factor)
    for gain in gains:
        assert one.promising((gain,)) == several.promising((gain,))


def test_decisions_worked_out_by_hand() -> None:
    stopper = build_stopping(EarlyStoppingSection(first_round=1), 10, 2)

    def hopeless(trial: int, *gains: float) -> bool:
        return stopper.hopeless(Observation(trial, None, "real", 1, False, gains))

    assert not hopeless(0, 0.5, -100.0)
    # Two, one place: they do not dominate each other, and the better first objective is first in the order.
    assert hopeless(1, 0.4, -50.0)
    assert not hopeless(2, 0.6, -90.0)  # three, one place; dominates trial 0
    # Four, two places. The front is (0.6, -90), (0.4, -50), (0.5, -60); after the first comes the farthest.
    assert hopeless(3, 0.5, -60.0)
    assert hopeless(4, 0.6, math.nan)
    # Five, as the last one did not count; two places. The new one is the other end of the front.
    assert not hopeless(5, 0.1, -10.0)
    # Equal to one that is among the first: goes on, as equals do with one objective.
    assert not hopeless(6, 0.1, -10.0)


def test_the_unit_of_an_objective_does_not_change_a_decision() -> None:
    gains = np.random.default_rng(8).random((120, 2))
    plain, scaled = ParetoRung(2, 3), ParetoRung(2, 3)
    for vector in gains:
        assert plain.promising(tuple(vector)) == scaled.promising((vector[0], vector[1] * 2.0**20))


@pytest.mark.parametrize("objectives", [2, 3])
@pytest.mark.parametrize("shape", ["cloud", "one front"])
def test_the_cost_of_a_look_stays_small(objectives: int, shape: str) -> None:
    source = np.random.default_rng(9)
    gains = source.random((3000, objectives)) if shape == "cloud" else source.dirichlet(np.ones(objectives), 3000)
    stopper = build_stopping(EarlyStoppingSection(first_round=1), 10, objectives)
    started = time.process_time()
    for trial, vector in enumerate(gains.tolist()):
        stopper.hopeless(Observation(trial, None, "real", 1, False, tuple(vector)))
    # Measured: 0.5 to 1.5 s; sorting all anew every time would take minutes.
    assert time.process_time() - started < 8


def test_the_median_knows_one_objective() -> None:
    settings = EarlyStoppingSection(method="median")
    check_stopping(settings, 1)
    for check in (lambda: check_stopping(settings, 2), lambda: build_stopping(settings, 10, 2)):
        with pytest.raises(UserError, match=r"search\.early_stopping\.method: median.*names 2.*successive_halving"):
            check()
    check_stopping(EarlyStoppingSection(), 3)
    check_stopping(EarlyStoppingSection(method="none"), 3)
