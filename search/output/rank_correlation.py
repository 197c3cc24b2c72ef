"""How well the cheap score orders models: rank correlation with an interval that says how sure one can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from search.output.bootstrap import interval, resampled

MINIMUM_PAIRS = 5
"""Below this many pairs no correlation is reported: with 4, one order in 24 is perfect by chance."""


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rho in [-1, 1] over `pairs` pairs, with a percentile bootstrap interval from `low` to `high`."""

    rho: float
    low: float
    high: float
    pairs: int
    confidence: float


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Spearman's rank correlation, ties given their mean rank; NaN where one side is constant.

    Spearman, "The Proof and Measurement of Association between Two Things" (1904).
    """
    return float(spearman_of_rows(np.asarray([first], float), np.asarray([second], float))[0])


def rank_correlation(
    first: Sequence[float],
    second: Sequence[float],
    seed: int,
    confidence: float = 0.95,
    resamples: int = 10_000,
) -> RankCorrelation | None:
    """Return the rank correlation of two equally long sequences, or None where there is nothing honest to say.

    The interval is the percentile bootstrap over pairs; resamples in which one side is constant have no rank
    correlation and are left out. None is returned for fewer than `MINIMUM_PAIRS` finite pairs, and where one side is
    constant.
    """
    pairs = np.array([first, second], float)
    one, other = pairs[:, np.isfinite(pairs).all(axis=0)]
    if len(one) < MINIMUM_PAIRS:
        return None
    rho = float(spearman_of_rows(one[None], other[None])[0])
    if np.isnan(rho):
        return None
    rhos = resampled(lambda rows: spearman_of_rows(one[rows], other[rows]), [np.arange(len(one))], seed, resamples)
    return RankCorrelation(rho, *interval(rhos, confidence), len(one), confidence)


def spearman_of_rows(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rank correlation of each row, NaN where one side is constant: [R, N] and [R, N] → [R]."""
    ranks = [rankdata(values, axis=1) for values in (first, second)]
    centred = [rank - rank.mean(axis=1, keepdims=True) for rank in ranks]
    product = (centred[0] * centred[1]).sum(axis=1)
    norms = np.sqrt((centred[0] ** 2).sum(axis=1) * (centred[1] ** 2).sum(axis=1))
    result: NDArray[np.float64] = np.divide(product, norms, out=np.full_like(product, np.nan), where=norms > 0)
    return result
