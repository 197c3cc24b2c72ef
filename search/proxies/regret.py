"""What choosing by a proxy costs in truth: top-k regret, exact over the random orders of tied scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CHOSEN = (1, 3, 5, 10)
"""The numbers of architectures, k, that regret is reported for."""


@dataclass(frozen=True)
class Regret:
    """By how much the best of k chosen architectures falls short of the best of all, in the unit of the truth.

    Args:
        k: how many are chosen, and then trained for real, so that the best of them is known.
        regret: expected when the k with the highest scores are chosen; at least 0.
        at_random: expected when k are drawn at random: what any proxy has to beat.
    """

    k: int
    regret: float
    at_random: float


def regrets(
    scores: NDArray[np.float64], truth: NDArray[np.float64], chosen: Sequence[int] = CHOSEN
) -> tuple[Regret, ...]:
    """Return the top-k regret for each k of `chosen` that is no more than the architectures.

    Tied scores are broken at random, and the expectation over that is exact: no order of rows matters. An architecture
    without a finite score ties with all others such, below those with one: a proxy that cannot score the best
    architecture pays for it. Architectures whose truth is not finite are left out.

    Args:
        scores: [N], higher is better.
        truth: [N], of the same architectures, higher is better.
        chosen: the values of k, from 1 on.
    """
    known = np.isfinite(truth)
    scores, truth = scores[known], truth[known]
    found = best_of_top(scores, truth)
    sizes = [k for k in chosen if k <= len(truth)]
    random = [expected_best(truth, k) for k in sizes]
    # Sums of probabilities round: without the 0, that of what is certain can come out a hair above the best.
    return tuple(
        Regret(k, max(0.0, float(truth.max() - found[k - 1])), max(0.0, float(truth.max() - drawn)))
        for k, drawn in zip(sizes, random, strict=True)
    )


def best_of_top(scores: NDArray[np.float64], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the expected best truth among the k highest scores, for k = 1 … N: [N] and [N] → [N].

    Ties of scores, and scores that are not finite, are treated as `regrets` says; all truths are finite.
    """
    best = -np.inf
    found: list[float] = []
    for group in tied_groups(scores):
        found += [expected_best(truth[group], drawn, best) for drawn in range(1, len(group) + 1)]
        best = found[-1]
    return np.array(found)


def tied_groups(scores: NDArray[np.float64]) -> list[NDArray[np.intp]]:
    """Return the row numbers of equal scores [N], best first; scores that are not finite are the last group."""
    ranked = np.where(np.isfinite(scores), scores, -np.inf)
    order = np.argsort(-ranked, kind="stable")
    descending = ranked[order]
    return np.split(order, np.flatnonzero(descending[1:] != descending[:-1]) + 1) if len(order) else []


def expected_best(values: NDArray[np.float64], drawn: int, at_least: float = -np.inf) -> float:
    """Return the expected maximum of `at_least` and `drawn` of the values [N], 1 to N, drawn without replacement.

    The j-th best of N is the maximum of d drawn with probability C(N - j, d - 1) / C(N, d): the other d - 1 are among
    the N - j below it. From j to j + 1 that shrinks by the factor (N - d - j + 1) / (N - j), so no binomial coefficient
    is ever formed and none overflows.
    """
    count = len(values)
    later = np.arange(1, count - drawn + 1)
    falls = np.cumprod((count - drawn - later + 1) / (count - later))
    probabilities = drawn / count * np.concatenate([[1.0], falls])
    best_first = np.sort(values)[::-1][: len(probabilities)]
    return float(probabilities @ np.maximum(best_first, at_least))
