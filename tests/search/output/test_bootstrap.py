from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from search.output import bootstrap
from search.output.bootstrap import Rows, Values, counts_of, interval, resampled

STRATA = [np.array([0, 2]), np.array([1, 3, 4]), np.array([5])]


def test_as_many_rows_are_drawn_from_each_stratum_as_are_in_it() -> None:
    counts: Values = resampled(lambda drawn: counts_of(drawn, 6).T.astype(float), STRATA, seed=3, resamples=4000)
    assert counts.shape == (6, 4000)
    for rows in STRATA:
        assert set(counts[rows].sum(axis=0)) == {len(rows)}
    # How often one of n rows is drawn is binomial of n and 1/n: its mean is 1, its variance 1 - 1/n.
    assert counts.mean(axis=1) == pytest.approx(1, abs=5 * np.sqrt(1 / 4000))
    variances = [1 / 2, 2 / 3, 1 / 2, 2 / 3, 2 / 3, 0]
    assert counts.var(axis=1) == pytest.approx(variances, abs=0.08)


def test_the_interval_of_a_mean_is_scipys() -> None:
    values = np.random.default_rng(0).exponential(size=30)
    found = interval(resampled(lambda drawn: values[drawn].mean(axis=1), [np.arange(30)], 1, 20_000), 0.9)
    expected = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, confidence_level=0.9, method="percentile", rng=2
    ).confidence_interval
    assert found == pytest.approx(tuple(expected), abs=0.01)


def test_what_has_no_value_is_left_out() -> None:
    assert interval(np.array([np.nan, *range(101)]), 0.9) == pytest.approx((5, 95))


def test_the_draws_do_not_depend_on_how_many_are_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def first(drawn: Rows) -> Values:
        return drawn[:, 0].astype(float)

    whole = resampled(first, [np.arange(7)], 0, 100)
    monkeypatch.setattr(bootstrap, "_DRAWN_AT_ONCE", 70)
    assert (resampled(first, [np.arange(7)], 0, 100) == whole).all()
    assert (resampled(first, [np.arange(7)], 1, 100) != whole).any()
