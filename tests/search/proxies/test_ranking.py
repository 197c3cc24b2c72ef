from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from search.output.bootstrap import counts_of
from search.output.rank_correlation import spearman_of_rows
from search.proxies.ranking import correlations, kendall_of_counts

PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=5, max_size=25)


def test_both_by_hand() -> None:
    # Two neighbouring swaps among 5: d = 1, -1, -1, 1, 0, so rho = 1 - 6 * 4 / 120; 2 of 10 pairs disagree.
    found = correlations(np.array([1.0, 2, 3, 4, 5]), np.array([0.2, 0.1, 0.4, 0.3, 0.5]), seed=0)
    assert found is not None
    assert (found.spearman, found.kendall, found.architectures) == pytest.approx((0.8, 0.6, 5))


def test_kendall_with_ties_by_hand() -> None:
    # Of 10 pairs: 1 tied in x, 1 in y (another), 8 agree, so tau-b = 8 / sqrt(9 * 9).
    found = correlations(np.array([1.0, 1, 2, 3, 4]), np.array([1.0, 2, 3, 4, 4]), seed=0)
    assert found is not None
    assert found.kendall == pytest.approx(8 / 9)


@settings(max_examples=40, deadline=None)
@given(PAIRS, st.integers(0, 2**31))
def test_resamples_agree_with_scipy(pairs: list[tuple[int, int]], seed: int) -> None:
    first, second = np.array(pairs, float).T
    drawn = np.random.default_rng(seed).integers(len(first), size=(5, len(first)))
    rhos = spearman_of_rows(first[drawn], second[drawn])
    taus = kendall_of_counts(first, second, counts_of(drawn, len(first)))
    for row, rho, tau in zip(drawn, rhos, taus, strict=True):
        x, y = first[row], second[row]
        if np.ptp(x) == 0 or np.ptp(y) == 0:
            assert math.isnan(rho)
            assert math.isnan(tau)
        else:
            assert rho == pytest.approx(scipy.stats.spearmanr(x, y).statistic)
            assert tau == pytest.approx(scipy.stats.kendalltau(x, y).statistic)


def test_more_architectures_than_are_compared_at_once() -> None:
    random = np.random.default_rng(3)
    first = random.normal(size=1_100)
    second = np.round(first + random.normal(size=1_100), 1)
    counts = np.bincount(random.integers(1_100, size=1_100), minlength=1_100)
    repeated = np.repeat(np.arange(1_100), counts)
    expected = scipy.stats.kendalltau(first[repeated], second[repeated]).statistic
    assert kendall_of_counts(first, second, counts[None].astype(np.float32))[0] == pytest.approx(expected, abs=1e-12)


def test_the_intervals_are_those_of_all_resamples() -> None:
    first, second = np.array([1.0, 2, 3, 4, 5]), np.array([2.0, 1, 4, 3, 5])
    every = [np.array(drawn) for drawn in itertools.product(range(5), repeat=5) if len(set(drawn)) > 1]
    taus = [scipy.stats.kendalltau(first[drawn], second[drawn]).statistic for drawn in every]
    rhos = spearman_of_rows(first[every], second[every])
    found = correlations(first, second, seed=0, confidence=0.8, resamples=40_000)
    assert found is not None
    assert [found.kendall_low, found.kendall_high] == pytest.approx(np.quantile(taus, [0.1, 0.9]), abs=0.02)
    assert [found.spearman_low, found.spearman_high] == pytest.approx(np.quantile(rhos, [0.1, 0.9]), abs=0.02)


def test_the_interval_holds_the_true_correlation_about_as_often_as_it_says() -> None:
    # Of a bivariate normal, rho = 6/pi asin(r/2) and tau = 2/pi asin(r).
    rho, tau = 6 / math.pi * math.asin(0.35), 2 / math.pi * math.asin(0.7)
    random = np.random.default_rng(0)
    held = np.zeros(2)
    for seed in range(150):
        first, second = random.multivariate_normal([0, 0], [[1, 0.7], [0.7, 1]], size=80).T
        found = correlations(first, second, seed, confidence=0.8, resamples=300)
        assert found is not None
        held += [
            found.spearman_low <= rho <= found.spearman_high,
            found.kendall_low <= tau <= found.kendall_high,
        ]
    assert (held / 150 > 0.68).all()
    assert (held / 150 < 0.92).all()


@settings(max_examples=25, deadline=None)
@given(PAIRS)
def test_only_order_counts_and_its_reverse_is_the_opposite(pairs: list[tuple[int, int]]) -> None:
    first, second = np.array(pairs, float).T
    found = correlations(first, second, seed=1, resamples=50)
    assert found == correlations(np.exp(first), second**3, seed=1, resamples=50)
    if found is not None:
        reverse = correlations(-first, second, seed=1, resamples=50)
        assert reverse is not None
        assert (reverse.spearman, reverse.kendall) == pytest.approx((-found.spearman, -found.kendall))
        assert (reverse.spearman_low, reverse.spearman_high) == pytest.approx(
            (-found.spearman_high, -found.spearman_low)
        )
        assert (reverse.kendall_low, reverse.kendall_high) == pytest.approx((-found.kendall_high, -found.kendall_low))


def test_what_is_not_finite_is_left_out() -> None:
    first, second = np.array([1.0, 4, 2, 3, 6, 5]), np.array([1.0, 2, 3, 4, 5, 6])
    padded = correlations(np.append(first, [math.nan, 1, math.inf]), np.append(second, [7, math.nan, 1]), seed=2)
    assert padded is not None
    assert padded == correlations(first, second, seed=2)


def test_too_few_or_constant_says_nothing() -> None:
    five = np.arange(5.0)
    assert correlations(five[:4], five[:4], seed=0) is None
    assert correlations(np.append(five[:4], math.nan), five, seed=0) is None
    assert correlations(np.ones(5), five, seed=0) is None
    assert correlations(five, np.ones(5), seed=0) is None


def test_the_seed_decides_the_interval() -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(size=(2, 30))
    assert correlations(first, second, seed=3) == correlations(first, second, seed=3)
    assert correlations(first, second, seed=3) != correlations(first, second, seed=4)


def test_a_whole_space_takes_seconds() -> None:
    first, second = np.random.default_rng(0).normal(size=(2, 720))
    start = time.process_time()
    correlations(first, second, seed=0)
    assert time.process_time() - start < 5
