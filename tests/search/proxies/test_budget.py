from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.proxies.budget import Hit, Point, first_hit, proxy_then_retrain, random_search, train_everything

ROWS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(0, 3), st.integers(1, 50)), max_size=6)
TRUTH = np.array([0.7, 0.9, 0.6])
COSTS = np.array([10.0, 20, 30])


def test_a_proxy_by_hand() -> None:
    # The scores cost 6; the order is rows 2, 0, 1.
    points = proxy_then_retrain(np.array([2.0, 1, 3]), TRUTH, np.array([1.0, 2, 3]), COSTS)
    assert points == [Point(1, 36, 0.6), Point(2, 46, 0.7), Point(3, 66, 0.9)]


def test_random_search_by_hand() -> None:
    # A training costs 20 on average. Of the pairs, two hold 0.9 and one has 0.7.
    points = random_search(TRUTH, COSTS)
    assert [point.cost for point in points] == [20, 40, 60]
    assert [point.accuracy for point in points] == pytest.approx([2.2 / 3, 2.5 / 3, 0.9])


@settings(deadline=None)
@given(ROWS)
def test_a_proxy_is_the_mean_over_all_orders_of_ties(rows: list[tuple[int, int, int, int]]) -> None:
    scores, truth, proxy_costs, costs = np.array(rows, float).reshape(-1, 4).T
    points = proxy_then_retrain(scores, truth, proxy_costs, costs)
    orders = [list(order) for order in itertools.permutations(range(len(rows)))]
    allowed = [order for order in orders if np.all(np.diff(scores[order]) <= 0)]
    expected_costs = proxy_costs.sum() + np.mean([np.cumsum(costs[order]) for order in allowed], axis=0)
    expected = np.mean([np.maximum.accumulate(truth[order]) if order else [] for order in allowed], axis=0)
    assert [point.k for point in points] == list(range(1, len(rows) + 1))
    assert [point.cost for point in points] == pytest.approx(expected_costs)
    assert [point.accuracy for point in points] == pytest.approx(expected)


@given(ROWS)
def test_every_way_ends_with_training_everything(rows: list[tuple[int, int, int, int]]) -> None:
    scores, truth, proxy_costs, costs = np.array(rows, float).reshape(-1, 4).T
    everything = train_everything(truth, costs)
    if everything is None:
        assert not rows
        assert random_search(truth, costs) == proxy_then_retrain(scores, truth, proxy_costs, costs) == []
        return
    for points in (random_search(truth, costs), proxy_then_retrain(scores, truth, 0 * costs, costs)):
        last = points[-1]
        assert (last.k, last.cost, last.accuracy) == pytest.approx((everything.k, everything.cost, everything.accuracy))


def test_a_proxy_without_an_opinion_is_random_search() -> None:
    blind = proxy_then_retrain(np.zeros(3), TRUTH, np.zeros(3), COSTS)
    for point, other in zip(blind, random_search(TRUTH, COSTS), strict=True):
        assert (point.k, point.cost, point.accuracy) == pytest.approx((other.k, other.cost, other.accuracy))


def test_what_is_missing() -> None:
    # Row 3 has no truth and is out, with its costs; row 0 has no score, cost nothing, and comes last.
    points = proxy_then_retrain(
        np.array([math.nan, 1, 2, 3]),
        np.array([0.7, 0.9, 0.6, math.nan]),
        np.array([math.nan, 2, 3, 99]),
        np.array([10.0, 20, 30, 99]),
    )
    assert points == [Point(1, 35, 0.6), Point(2, 55, 0.9), Point(3, 65, 0.9)]
    assert train_everything(np.array([0.5, math.nan]), np.array([1.0, 9])) == Point(1, 1, 0.5)


def test_a_score_without_a_cost_is_not_free() -> None:
    points = proxy_then_retrain(np.array([1.0, 2, 3]), TRUTH, np.array([1.0, math.nan, 3]), COSTS)
    assert all(math.isnan(point.cost) for point in points)


def test_the_first_hit_by_hand() -> None:
    # The scores cost 6; rows 2 and 0 are trained, and then row 1, the best; row 0 is within 0.2 of it.
    scores, costs = np.array([2.0, 1, 3]), np.array([1.0, 2, 3])
    assert first_hit(scores, TRUTH, costs, COSTS, within=0.0) == Hit(3, 66)
    assert first_hit(scores, TRUTH, costs, COSTS, within=0.2) == Hit(2, 46)  # although 0.9 - 0.2 > 0.7
    assert first_hit(scores, TRUTH, costs, COSTS, within=0.5) == Hit(1, 36)
    assert first_hit(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0), within=0.5) is None


@given(ROWS.filter(bool), st.integers(0, 4))
def test_the_first_hit_is_the_mean_over_all_orders_of_ties(rows: list[tuple[int, int, int, int]], within: int) -> None:
    scores, truth, proxy_costs, costs = np.array(rows, float).reshape(-1, 4).T
    found = first_hit(scores, truth, proxy_costs, costs, within)
    trained, spent = [], []
    for order in map(list, itertools.permutations(range(len(rows)))):
        if np.all(np.diff(scores[order]) <= 0):
            first = int(np.argmax(truth[order] >= truth.max() - within))
            trained.append(first + 1)
            spent.append(proxy_costs.sum() + costs[order][: first + 1].sum())
    assert found is not None
    assert (found.trained, found.cost) == pytest.approx((np.mean(trained), np.mean(spent)))


def test_noise_hits_no_earlier_than_chance_on_average() -> None:
    draw = np.random.default_rng(0)
    truth, nothing, ones = draw.normal(size=40), np.zeros(40), np.ones(40)
    chance = first_hit(nothing, truth, nothing, ones, within=0.3)
    assert chance is not None
    hits = int((truth >= truth.max() - 0.3).sum())
    assert (chance.trained, chance.cost) == pytest.approx((41 / (hits + 1), 41 / (hits + 1)))
    noise = [first_hit(draw.normal(size=40), truth, nothing, ones, within=0.3) for _ in range(4000)]
    assert np.mean([hit.trained for hit in noise if hit is not None]) == pytest.approx(chance.trained, rel=0.05)
