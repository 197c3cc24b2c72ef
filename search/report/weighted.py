"""Rank correlations over a sample in which each model stands for a known number of candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.output.bootstrap import counts_of, interval, resampled
from search.output.rank_correlation import MINIMUM_PAIRS, RankCorrelation

Array = NDArray[np.float64]

RESAMPLES = 10_000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Advantage:
    """How much higher the first score's Spearman's rho is than its rival's, in [-2, 2].

    `low` and `high` are a percentile bootstrap interval of `difference`; both correlations are of the same `pairs`.
    """

    first: float
    rival: float
    low: float
    high: float
    pairs: int

    @property
    def difference(self) -> float:
        """The first's correlation less the rival's."""
        return self.first - self.rival


def weighted_correlation(
    score: Array, truth: Array, weights: Array, strata: NDArray[np.int64], seed: int
) -> RankCorrelation | None:
    """Return Spearman's rho of [N] scores with [N] truths as it would be if each pair were there `weights` times.

    Weights are inverse inclusion probabilities (Horvitz and Thompson, "A Generalization of Sampling Without Replacement
    from a Finite Universe", 1952), so the sample's correlation estimates that of all candidates it was drawn from. The
    interval is the percentile bootstrap over pairs, drawn anew within each stratum. A stratum of n pairs makes it too
    narrow by a factor of about √((n - 1) / n).

    None is returned for fewer than `MINIMUM_PAIRS` pairs, and where one side is constant.
    """
    found = _weighted([score], truth, weights, strata, seed)
    if found is None:
        return None
    (rho,), rhos = found
    return RankCorrelation(rho, *interval(rhos[0], CONFIDENCE), len(score), CONFIDENCE)


def weighted_advantage(
    score: Array, rival: Array, truth: Array, weights: Array, strata: NDArray[np.int64], seed: int
) -> Advantage | None:
    """Return by how much `score` [N] is better correlated with `truth` [N] than `rival` [N] is.

    A paired bootstrap: both correlations of a resample are of the same pairs, so what an easy or hard sample does to
    both cancels. Weights and strata are those of `weighted_correlation`. None is returned for fewer than
    `MINIMUM_PAIRS` pairs, and where one of the three is constant.
    """
    found = _weighted([score, rival], truth, weights, strata, seed)
    if found is None:
        return None
    (first, second), rhos = found
    return Advantage(first, second, *interval(rhos[0] - rhos[1], CONFIDENCE), len(score))


def _weighted(
    scores: Sequence[Array], truth: Array, weights: Array, strata: NDArray[np.int64], seed: int
) -> tuple[list[float], Array] | None:
    """Return the correlations of S scores with the truth, and those of each resample, [S, R]; None as they say."""
    if len(truth) < MINIMUM_PAIRS:
        return None

    def rhos(drawn: NDArray[np.int64]) -> Array:
        often = weights * counts_of(drawn, len(truth))
        return np.stack([weighted_spearman(score, truth, often) for score in scores])

    found = rhos(np.arange(len(truth))[None])[:, 0]
    if np.isnan(found).any():
        return None
    apart = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    return found.tolist(), resampled(rhos, apart, seed, RESAMPLES)


def weighted_spearman(first: Array, second: Array, weights: Array) -> Array:
    """Return the weighted rank correlation of [N] pairs for each row of weights [R, N]: [R], NaN if a side is constant.

    The rank of a value is the weight of the values below it and half the weight of its ties (itself among them); the
    correlation is Pearson's with the same weights. With whole weights it is Spearman's of pairs repeated so often.
    """
    total = weights.sum(axis=1, keepdims=True)
    centred = []
    for values in (first, second):
        ranks = weights @ _below(values)
        centred.append(ranks - (weights * ranks).sum(axis=1, keepdims=True) / total)
    product = (weights * centred[0] * centred[1]).sum(axis=1)
    variances = [(weights * rank**2).sum(axis=1) for rank in centred]
    # The variance of ranks grows with the cube of the weight; a constant side leaves a rounding error of it.
    varied = np.minimum(*variances) > 1e-12 * total[:, 0] ** 3
    norms = np.sqrt(variances[0] * variances[1])
    result: Array = np.divide(product, norms, out=np.full_like(product, np.nan), where=varied)
    return result


def _below(values: Array) -> Array:
    """Return a matrix [N, N]: 1 where the row's value is below the column's, a half where they are equal."""
    result: Array = (values[:, None] < values) + 0.5 * (values[:, None] == values)
    return result
