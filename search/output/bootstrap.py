"""Percentile bootstraps over the rows of a table: what other rows like these might have given.

Efron and Tibshirani, "An Introduction to the Bootstrap", section 13.3. `scipy.stats.bootstrap` does not serve here: its
interval is NaN as soon as one resample has no value, as a rank correlation has none where five rows drawn are one and
the same; it refuses strata of one row; and of a resample it tells the values, where weights and Kendall's matrix of
signs go by the numbers of the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Rows: TypeAlias = NDArray[np.int64]
Values: TypeAlias = NDArray[np.float64]

_DRAWN_AT_ONCE = 2**22
"""Row numbers in memory at a time, so that thousands of resamples of a large table fit."""


def resampled(statistic: Callable[[Rows], Values], strata: Sequence[Rows], seed: int, resamples: int) -> Values:
    """Return a statistic of each of R resamples, [..., R].

    Args:
        statistic: takes the row numbers of some resamples [B, N] and returns their values [..., B].
        strata: row numbers; from each as many are drawn as are in it.
        seed: of the draws.
        resamples: R.
    """
    generator = np.random.default_rng(seed)
    at_once = max(1, _DRAWN_AT_ONCE // sum(map(len, strata)))
    found = []
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        drawn = [rows[generator.integers(len(rows), size=(size, len(rows)))] for rows in strata]
        found.append(statistic(np.concatenate(drawn, axis=1)))
    return np.concatenate(found, axis=-1)


def interval(values: Values, confidence: float) -> tuple[float, float]:
    """Return the quantiles of a resampled statistic [R] that hold its middle `confidence`; NaNs are left out."""
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return float(low), float(high)


def counts_of(drawn: Rows, rows: int) -> NDArray[np.float32]:
    """Return how often each of `rows` rows is in each resample: row numbers [R, N] → [R, rows]."""
    cells = drawn + rows * np.arange(len(drawn))[:, None]
    return np.bincount(cells.ravel(), minlength=rows * len(drawn)).reshape(len(drawn), rows).astype(np.float32)
