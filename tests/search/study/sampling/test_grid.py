"""Every candidate once."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from optuna.trial import TrialState

from search.space import Space
from search.study.sampling.grid import shuffled
from tests.search.study.sampling.small import FINITE, Searched


def tried(study: Searched) -> Counter[frozenset[tuple[str, object]]]:
    return Counter(frozenset(trial.params.items()) for trial in study.trials)


@pytest.mark.parametrize("seed", range(3))
def test_no_candidate_is_proposed_twice_until_all_have_been(seed: int) -> None:
    space = Space.parse(FINITE)
    study = Searched("grid", space, seed=seed)
    for _ in range(15):
        study.ask()
    assert len(tried(study)) == 15
    for _ in range(15):
        study.ask()
    assert set(tried(study).values()) == {2}


def test_the_order_is_random() -> None:
    space = Space.parse(FINITE)
    orders = set()
    for seed in range(5):
        study = Searched("grid", space, seed=seed)
        orders.add(tuple(str(study.params()) for _ in range(15)))
    assert len(orders) == 5


def test_a_resumed_grid_goes_on_with_what_has_not_been_tried() -> None:
    space = Space.parse(FINITE)
    first = Searched("grid", space)
    for state in (TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED) * 2:
        first.ask().tell(state, [0.5] if state == TrialState.COMPLETE else None)
    resumed = Searched("grid", space, known=first.trials)
    for _ in range(9):
        resumed.ask()
    assert set((tried(first) + tried(resumed)).values()) == {1}
    assert len(tried(first) + tried(resumed)) == 15


def test_points_of_the_users_are_not_proposed_again_and_cost_no_candidate() -> None:
    space = Space.parse(FINITE)
    study = Searched("grid", space)
    study.ask(a="q", c=3)
    study.ask(a="p")
    for _ in range(13):
        study.ask()
    assert len(tried(study)) == 15


def test_sources_have_grids_of_their_own() -> None:
    space = Space.parse({**FINITE, "source": {"choice": ["distilled", "real"]}})
    study = Searched("grid", space)
    for source in ("distilled", "real") * 15:
        study.ask(source)
    assert set(tried(study).values()) == {1}


def test_a_shuffle_is_a_permutation_and_evenly_so() -> None:
    assert sorted(shuffled(100, 3)) == list(range(100))
    orders = Counter(tuple(shuffled(3, seed)) for seed in range(6000))
    assert len(orders) == 6
    # A thousand are expected of each; 150 is five standard deviations.
    assert all(abs(count - 1000) < 150 for count in orders.values())


def test_a_shuffle_of_a_space_beyond_memory_is_begun_at_once() -> None:
    first = list(itertools.islice(shuffled(10**18, 0), 1000))
    assert len(set(first)) == 1000
    assert 4e17 < sum(first) / 1000 < 6e17
