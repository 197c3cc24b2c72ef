from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from search.proxies.ranking import correlations
from search.proxies.significance import advantage

TRUTH = np.array([1.0, 2, 3, 4, 5])
FIRST = np.array([2.0, 1, 4, 3, 5])  # rho 0.8
SECOND = np.array([5.0, 1, 2, 4, 3])  # d = 4, -1, -1, 0, -2: rho = 1 - 6 * 22 / 120 = -0.1


def test_the_difference_by_hand() -> None:
    found = advantage(FIRST, SECOND, TRUTH, seed=0)
    assert found is not None
    assert found.mean == pytest.approx(0.9)
    assert found.architectures == 5


@pytest.mark.filterwarnings("ignore::scipy.stats.ConstantInputWarning")
def test_the_interval_is_that_of_all_resamples() -> None:
    every = [list(drawn) for drawn in itertools.product(range(5), repeat=5) if len(set(drawn)) > 1]
    differences = []
    for drawn in every:
        ranks = [scipy.stats.rankdata(values[drawn]) for values in (FIRST, SECOND, TRUTH)]
        differences.append(np.corrcoef(ranks[0], ranks[2])[0, 1] - np.corrcoef(ranks[1], ranks[2])[0, 1])
    found = advantage(FIRST, SECOND, TRUTH, seed=0, confidence=0.8, resamples=40_000)
    assert found is not None
    assert [found.low, found.high] == pytest.approx(np.quantile(differences, [0.1, 0.9]), abs=0.03)


def test_a_proxy_has_no_advantage_over_its_own_order() -> None:
    found = advantage(FIRST, np.exp(FIRST), TRUTH, seed=0)
    assert found is not None
    assert (found.mean, found.low, found.high) == (0, 0, 0)


def test_the_other_way_round_it_is_the_opposite() -> None:
    one, other = advantage(FIRST, SECOND, TRUTH, seed=4), advantage(SECOND, FIRST, TRUTH, seed=4)
    assert one is not None
    assert other is not None
    assert (one.mean, one.low, one.high) == pytest.approx((-other.mean, -other.high, -other.low))


def test_pairing_sees_what_separate_intervals_do_not() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(size=100)
    first = truth + random.normal(size=100)
    second = first + 0.7 * random.normal(size=100)  # the same errors, and some more
    separate = [correlations(scores, truth, seed=0) for scores in (first, second)]
    found = advantage(first, second, truth, seed=0)
    assert found is not None
    assert separate[0] is not None
    assert separate[1] is not None
    assert separate[1].spearman_high > separate[0].spearman_low
    assert found.low > 0
    assert found.mean == pytest.approx(separate[0].spearman - separate[1].spearman)


def test_compared_where_all_are_known() -> None:
    gap = math.nan
    found = advantage(
        np.append(FIRST, [gap, 1, 1]), np.append(SECOND, [1, gap, 1]), np.append(TRUTH, [1, 1, gap]), seed=0
    )
    assert found == advantage(FIRST, SECOND, TRUTH, seed=0)


def test_too_few_or_constant_says_nothing() -> None:
    assert advantage(FIRST[:4], SECOND[:4], TRUTH[:4], seed=0) is None
    assert advantage(FIRST, np.zeros(5), TRUTH, seed=0) is None
    assert advantage(FIRST, SECOND, np.zeros(5), seed=0) is None
