from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from search.output.rank_correlation import rank_correlation, spearman


class TestStatistics:
    def test_spearman_by_hand(self) -> None:
        # d = 1, -1, -1, 1, 0, so rho = 1 - 6 * 4 / (5 * 24).
        assert spearman([1, 2, 3, 4, 5], [2, 1, 4, 3, 5]) == pytest.approx(0.8)

    def test_spearman_by_hand_with_ties(self) -> None:
        # Ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: covariance 4.5, norms 4.5 and 5.
        assert spearman([1, 2, 2, 9], [1, 2, 3, 4]) == pytest.approx(4.5 / math.sqrt(4.5 * 5))

    def test_spearman_of_a_constant_is_undefined(self) -> None:
        assert math.isnan(spearman([1, 1, 1], [1, 2, 3]))

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=30))
    def test_spearman_agrees_with_scipy(self, pairs: list[tuple[int, int]]) -> None:
        first, second = [float(a) for a, _ in pairs], [float(b) for _, b in pairs]
        if len(set(first)) > 1 and len(set(second)) > 1:
            assert spearman(first, second) == pytest.approx(scipy.stats.spearmanr(first, second).statistic)

    def test_the_interval_is_that_of_all_resamples(self) -> None:
        first, second = np.array([1.0, 2, 3, 4, 5]), np.array([2.0, 1, 4, 3, 5])
        every = (list(drawn) for drawn in itertools.product(range(5), repeat=5))
        values = np.array([spearman(first[drawn].tolist(), second[drawn].tolist()) for drawn in every])
        expected = np.nanquantile(values, [0.1, 0.9])
        found = rank_correlation(first.tolist(), second.tolist(), seed=0, confidence=0.8, resamples=40_000)
        assert found is not None
        assert found.rho == pytest.approx(0.8)
        assert found.pairs == 5
        assert [found.low, found.high] == pytest.approx(expected, abs=0.02)

    def test_a_perfect_order_has_a_point_for_an_interval(self) -> None:
        found = rank_correlation([1, 2, 3, 4, 5, 6], [0.1, 0.2, 0.4, 0.8, 1.6, 3.2], seed=1)
        assert found is not None
        assert (found.rho, found.low, found.high) == pytest.approx((1, 1, 1))

    def test_the_same_seed_gives_the_same_interval(self) -> None:
        first, second = list(range(8)), [3, 1, 0, 2, 7, 5, 4, 6]
        assert rank_correlation(first, second, seed=3) == rank_correlation(first, second, seed=3)
        assert rank_correlation(first, second, seed=3) != rank_correlation(first, second, seed=4)

    def test_four_pairs_say_nothing(self) -> None:
        assert rank_correlation([1, 2, 3, 4], [1, 2, 3, 4], seed=0) is None
        assert rank_correlation([1, 2, 3, 4, math.nan], [1, 2, 3, 4, 5], seed=0) is None

    def test_a_constant_score_says_nothing(self) -> None:
        assert rank_correlation([1, 1, 1, 1, 1], [1, 2, 3, 4, 5], seed=0) is None
