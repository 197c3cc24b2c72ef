from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from search.output.rank_correlation import rank_correlation
from search.report.weighted import weighted_advantage, weighted_correlation, weighted_spearman

ONE_STRATUM = np.zeros(5, np.int64)


def rho(first: list[float], second: list[float], weights: list[float]) -> float:
    return float(weighted_spearman(np.array(first), np.array(second), np.array([weights]))[0])


def test_by_hand() -> None:
    """Weights 1, 1, 2: ranks ½, 1½, 3 of (1, 2, 3) and 1½, ½, 3 of (2, 1, 3), both of weighted mean 2.

    Deviations -1½, -½, 1 and -½, -1½, 1: covariance ¾ + ¾ + 2·1, variances 2¼ + ¼ + 2·1.
    """
    assert rho([1, 2, 3], [2, 1, 3], [1, 1, 2]) == pytest.approx(3.5 / 4.5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(1, 4)), min_size=3, max_size=20))
def test_a_whole_weight_is_so_many_pairs(pairs: list[tuple[int, int, int]]) -> None:
    first, second, weights = (list(map(float, column)) for column in zip(*pairs, strict=True))
    if len(set(first)) > 1 and len(set(second)) > 1:
        repeated = [np.repeat(values, np.array(weights, int)) for values in (first, second)]
        assert rho(first, second, weights) == pytest.approx(scipy.stats.spearmanr(*repeated).statistic)


def test_a_constant_side_has_no_correlation() -> None:
    assert math.isnan(rho([1, 1, 1], [1, 2, 3], [1, 7.3, 1 / 3]))
    # A weight of nothing is as if the pair were not there: what is left is constant.
    assert math.isnan(rho([1, 1, 2], [1, 2, 3], [1, 1, 0]))


def test_the_interval_is_that_of_all_stratified_resamples() -> None:
    score, truth = np.array([1.0, 2, 3, 4, 5]), np.array([2.0, 1, 4, 3, 5])
    weights, strata = np.array([1.0, 1, 1, 10, 10]), np.array([0, 0, 0, 1, 1])
    values = []
    for certain in itertools.product(range(3), repeat=3):
        for drawn in itertools.product((3, 4), repeat=2):
            chosen = [*certain, *drawn]
            repeated = [np.repeat(side[chosen], weights[chosen].astype(int)) for side in (score, truth)]
            values.append(scipy.stats.spearmanr(*repeated).statistic)
    found = weighted_correlation(score, truth, weights, strata, seed=0)
    assert found is not None
    # Discrete: the bounds are values that resamples have, and 10,000 draws of 108 equally likely ones find them.
    assert [found.low, found.high] == pytest.approx(list(np.nanquantile(values, [0.025, 0.975])), abs=0.05)
    everything = [np.repeat(side, weights.astype(int)) for side in (score, truth)]
    assert found.rho == pytest.approx(scipy.stats.spearmanr(*everything).statistic)


def test_without_weights_it_is_the_plain_one() -> None:
    first, second = [1.0, 2, 3, 4, 5, 6, 7, 8], [3.0, 1, 2, 5, 4, 8, 6, 7]
    plain = rank_correlation(first, second, seed=0)
    found = weighted_correlation(np.array(first), np.array(second), np.ones(8), np.zeros(8, np.int64), seed=0)
    assert plain is not None
    assert found is not None
    assert found.rho == pytest.approx(plain.rho)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), abs=0.03)
    assert (found.pairs, found.confidence) == (plain.pairs, plain.confidence)


def test_a_paired_difference() -> None:
    truth = np.array([1.0, 2, 3, 4, 5])
    found = weighted_advantage(truth, np.array([2.0, 1, 4, 3, 5]), truth, np.ones(5), ONE_STRATUM, seed=0)
    assert found is not None
    # d = 1, -1, 1, -1, 0: the rival has 1 - 6 * 4 / (5 * 24).
    assert (found.first, found.rival, found.difference) == pytest.approx((1.0, 0.8, 0.2))
    assert found.low == pytest.approx(0.0)
    assert found.high > 0.2


def test_a_score_has_no_advantage_over_itself() -> None:
    truth, score = np.array([1.0, 2, 3, 4, 5]), np.array([1.0, 3, 2, 4, 5])
    found = weighted_advantage(score, score, truth, np.ones(5), ONE_STRATUM, seed=0)
    assert found is not None
    assert (found.low, found.difference, found.high) == (0, 0, 0)


def test_too_few_or_constant_pairs_say_nothing() -> None:
    four, five = np.arange(4.0), np.arange(5.0)
    assert weighted_correlation(four, four, np.ones(4), np.zeros(4, np.int64), seed=0) is None
    assert weighted_correlation(np.ones(5), five, np.ones(5), ONE_STRATUM, seed=0) is None
    assert weighted_advantage(four, four, four, np.ones(4), np.zeros(4, np.int64), seed=0) is None
    assert weighted_advantage(five, np.ones(5), five, np.ones(5), ONE_STRATUM, seed=0) is None
