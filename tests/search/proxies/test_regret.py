from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.proxies.regret import best_of_top, expected_best, regrets

FEW = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=1, max_size=6)


def test_by_hand() -> None:
    # The proxy's order is rows 2, 0, 1, 3: the best so far 0.6, 0.7, 0.9, 0.9.
    found = regrets(np.array([3.0, 2, 4, 1]), np.array([0.7, 0.9, 0.6, 0.1]), chosen=(1, 2, 3, 4))
    assert [entry.regret for entry in found] == pytest.approx([0.3, 0.2, 0, 0])
    # One at random: the mean, 0.575. Two: 0.9 in 3 of 6 pairs, 0.7 in 2, 0.6 in 1. Three: 0.9 in 3 of 4, else 0.7.
    expected = [0.9 - 0.575, 0.9 - (2.7 + 1.4 + 0.6) / 6, 0.9 - (2.7 + 0.7) / 4, 0]
    assert [entry.at_random for entry in found] == pytest.approx(expected)


@settings(deadline=None)
@given(FEW)
def test_the_mean_over_all_orders_of_ties(rows: list[tuple[int, int]]) -> None:
    scores, truth = np.array(rows, float).T
    orders = [order for order in itertools.permutations(range(len(rows))) if _descends(scores[list(order)])]
    running = [np.maximum.accumulate(truth[list(order)]) for order in orders]
    assert best_of_top(scores, truth) == pytest.approx(np.mean(running, axis=0))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.data())
def test_the_mean_over_all_draws(values: list[int], data: st.DataObject) -> None:
    drawn = data.draw(st.integers(1, len(values)))
    every = [max(draw) for draw in itertools.combinations(values, drawn)]
    assert expected_best(np.array(values, float), drawn) == pytest.approx(np.mean(every))
    assert expected_best(np.array(values, float), drawn, at_least=5) == pytest.approx(np.mean(np.maximum(every, 5)))


def test_large_tables_do_not_overflow() -> None:
    # The expected maximum of d of 1 … N, drawn without replacement, is d (N + 1) / (d + 1).
    for drawn in (1, 2, 1_000, 4_999, 5_000):
        assert expected_best(np.arange(1.0, 5_001), drawn) == pytest.approx(drawn * 5_001 / (drawn + 1))


@given(FEW)
def test_laws(rows: list[tuple[int, int]]) -> None:
    scores, truth = np.array(rows, float).T
    found = regrets(scores, truth, chosen=range(1, len(rows) + 1))
    regret = [entry.regret for entry in found]
    assert np.all(np.diff(regret) <= 1e-9)
    assert regret[-1] == pytest.approx(0)
    assert [entry.regret for entry in regrets(truth, truth)] == pytest.approx([0] * len(regrets(truth, truth)))
    for entry in regrets(np.zeros(len(rows)), truth):
        assert entry.regret == pytest.approx(entry.at_random)


def test_the_order_of_rows_does_not_matter() -> None:
    scores, truth = np.array([1.0, 1, 1, 0, 2, 2]), np.array([0.3, 0.5, 0.1, 0.9, 0.2, 0.4])
    order = np.random.default_rng(0).permutation(6)
    forwards, shuffled = regrets(scores, truth), regrets(scores[order], truth[order])
    assert [entry.k for entry in forwards] == [1, 3, 5]
    for first, second in zip(forwards, shuffled, strict=True):
        assert (first.regret, first.at_random) == pytest.approx((second.regret, second.at_random))


def test_no_score_is_the_lowest_and_no_truth_is_left_out() -> None:
    scores = np.array([math.nan, 1.0, 2, -math.inf, 9])
    truth = np.array([0.9, 0.5, 0.4, 0.1, math.nan])
    # Rows 2, 1, then 0 and 3 in either order.
    found = regrets(scores, truth, chosen=(1, 2, 3, 4, 5))
    assert [entry.regret for entry in found] == pytest.approx([0.5, 0.4, 0.2, 0])


def test_of_nothing() -> None:
    assert regrets(np.array([1.0]), np.array([math.nan])) == ()


def _descends(values: np.ndarray) -> bool:
    return bool(np.all(np.diff(values) <= 0))


@given(st.lists(st.sampled_from([0.6667, 0.3333, 0.1, 0.7]), min_size=1, max_size=30))
def test_rounding_makes_no_regret_negative(values: list[float]) -> None:
    truth = np.array(values)
    assert all(found.regret >= 0 and found.at_random >= 0 for found in regrets(np.zeros(len(truth)), truth))
