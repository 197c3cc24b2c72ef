"""Whether one proxy ranks better than another on the same architectures, such as better than the parameter count."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.output.bootstrap import interval, resampled
from search.output.rank_correlation import MINIMUM_PAIRS, spearman_of_rows


@dataclass(frozen=True)
class Difference:
    """How much higher the first proxy's Spearman's rho is, in [-2, 2], with a percentile bootstrap interval.

    Args:
        mean: the difference on the architectures themselves: that of the two correlations as reported.
        low: lower end of the interval; above 0, the first proxy is the better one.
        high: upper end; below 0, the second is.
        architectures: that both proxies scored and whose truth is known.
    """

    mean: float
    low: float
    high: float
    architectures: int


def advantage(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    truth: NDArray[np.float64],
    seed: int,
    confidence: float = 0.95,
    resamples: int = 2_000,
) -> Difference | None:
    """Return by how much `first` [N] is better correlated with the truth [N] than `second` [N] is, or None.

    A paired bootstrap: both correlations are of the same resampled architectures, so what an easy or hard sample does
    to both cancels, and the interval is as a rule narrower than those of the two correlations suggest. Architectures
    that are not finite on all three sides are left out, so the proxies are compared where both have a score; resamples
    in which one side is constant too. None for fewer than 5 architectures and where one of the three is constant.
    """
    finite = np.isfinite(first) & np.isfinite(second) & np.isfinite(truth)
    kept = [values[finite] for values in (first, second, truth)]
    if finite.sum() < MINIMUM_PAIRS or any(np.ptp(values) == 0 for values in kept):
        return None
    first, second, truth = kept

    def difference(drawn: NDArray[np.int64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = spearman_of_rows(first[drawn], truth[drawn])
        return found - spearman_of_rows(second[drawn], truth[drawn])

    everything = np.arange(len(truth))
    observed = float(difference(everything[None])[0])
    differences = resampled(difference, [everything], seed, resamples)
    return Difference(observed, *interval(differences, confidence), len(truth))
