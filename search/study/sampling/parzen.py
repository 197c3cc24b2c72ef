"""Parzen densities over the parameters of a trial: those of Optuna's TPE, in a few operations on whole arrays.

Optuna's own come to several hundred small operations a suggestion, which take longer than all arithmetic in them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.special import ndtr, ndtri

Floats: TypeAlias = NDArray[np.float64]

FINEST = 100
"""A kernel is at least the range over this wide."""


class Box:
    """The parameters of a density, and the coordinates in which its kernels are: logarithms where a range has them.

    Points are matrices [N, D] of Optuna's internal values, a choice being its number, with a column a parameter.
    """

    def __init__(self, space: Mapping[str, BaseDistribution]) -> None:
        self.space = dict(space)
        distributions = list(space.values())
        is_choice = np.array([isinstance(one, CategoricalDistribution) for one in distributions])
        ranges = [one for one in distributions if isinstance(one, IntDistribution | FloatDistribution)]
        self.chosen, self.ranged = np.flatnonzero(is_choice), np.flatnonzero(~is_choice)
        self.choices = np.array([len(one.choices) for one in distributions if isinstance(one, CategoricalDistribution)])
        self.first = np.array([one.low for one in ranges], dtype=float)
        self.last = np.array([one.high for one in ranges], dtype=float)
        self.step = np.array([one.step or 0 for one in ranges], dtype=float)
        self.logarithmic = np.array([one.log for one in ranges], dtype=bool)
        # A value on a grid stands for the stretch half a step to both sides.
        self.low = self.coordinates(self.first - self.step / 2)
        self.high = self.coordinates(self.last + self.step / 2)

    def coordinates(self, numbers: Floats) -> Floats:
        """Return the coordinates of values of the ranges, [..., R]."""
        return np.where(self.logarithmic, np.log(np.where(self.logarithmic, numbers, 1.0)), numbers)

    def numbers(self, coordinates: Floats) -> Floats:
        """Return the values of the ranges, on their grids, that are nearest to coordinates [..., R]."""
        found = np.where(self.logarithmic, np.exp(np.where(self.logarithmic, coordinates, 0.0)), coordinates)
        step = np.where(self.step > 0, self.step, 1.0)
        on_grid = self.first + np.round((found - self.first) / step) * step
        return np.clip(np.where(self.step > 0, on_grid, found), self.first, self.last)

    def external(self, point: Floats) -> dict[str, Any]:
        """Return a point [D] as parameters."""
        return {
            name: distribution.to_external_repr(value)
            for (name, distribution), value in zip(self.space.items(), point.tolist(), strict=True)
        }


class Parzen:
    """A mixture of a kernel at each of N points and the prior, which is the whole box.

    As in Optuna's multivariate TPE (Falkner et al. 2018 for several parameters at once): truncated normal kernels, each
    as wide as the larger gap to its neighbours, and for a choice a share of probability for the values not observed.

    Args:
        box: the parameters.
        points: [N, D].
        weights: of the points and, last, of the prior: [N + 1], in any scale.
    """

    def __init__(self, box: Box, points: Floats, weights: Floats) -> None:
        self._box = box
        self._weights = weights / weights.sum()
        self._observed = points[:, box.chosen]
        centres = box.coordinates(points[:, box.ranged])
        middle, width = (box.low + box.high) / 2, box.high - box.low
        self._centres = np.vstack([centres, middle])
        self._widths = np.vstack([_widths(centres, box.low, box.high), width])
        self._begin = ndtr((box.low - self._centres) / self._widths)
        self._mass = ndtr((box.high - self._centres) / self._widths) - self._begin

    def log_density(self, points: Floats) -> Floats:
        """Return the logarithm of the density, [M], at points [M, D]."""
        density = self._densities_of_ranges(points[:, self._box.ranged])
        density *= self._densities_of_choices(points[:, self._box.chosen])
        with np.errstate(divide="ignore"):
            found: Floats = np.log(density @ self._weights)
        return found

    def _densities_of_ranges(self, numbers: Floats) -> Floats:
        """Return the density of each kernel at each point, [M, N + 1]."""
        box = self._box
        smooth, stepped = box.step == 0, box.step > 0
        distance = (box.coordinates(numbers)[:, None, smooth] - self._centres[:, smooth]) / self._widths[:, smooth]
        scale = (math.sqrt(2 * math.pi) * self._widths * self._mass)[:, smooth].prod(axis=1)
        density: Floats = np.exp(-0.5 * (distance**2).sum(axis=2)) / scale
        if stepped.any():
            ends = [
                (box.coordinates(numbers + side * box.step / 2)[:, None, stepped] - self._centres[:, stepped])
                / self._widths[:, stepped]
                for side in (-1, 1)
            ]
            density *= ((ndtr(ends[1]) - ndtr(ends[0])) / self._mass[:, stepped]).prod(axis=2)
        return density

    def _densities_of_choices(self, values: Floats) -> Floats:
        count, kernels = self._box.choices, len(self._weights)
        same = values[:, None, :] == self._observed
        observed = ((same + 1 / kernels) / (1 + count / kernels)).prod(axis=2)
        prior = np.full((len(values), 1), (1 / count).prod())
        return np.hstack([observed, prior])

    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        """Return `size` points drawn from the density, [size, D]."""
        box, kernels = self._box, len(self._weights)
        picked = rng.choice(kernels, size, p=self._weights)
        points = np.empty((size, len(box.space)))
        shares = self._begin[picked] + rng.random((size, len(box.ranged))) * self._mass[picked]
        drawn = self._centres[picked] + self._widths[picked] * ndtri(shares)
        points[:, box.ranged] = box.numbers(np.clip(drawn, box.low, box.high))
        anything = rng.integers(box.choices, size=(size, len(box.chosen)))
        # The last kernel is the prior; in the others each value has 1 / kernels beside what was observed.
        observed = np.vstack([self._observed, np.zeros(len(box.chosen))])[picked]
        free = rng.random(anything.shape) < box.choices / (kernels + box.choices)
        points[:, box.chosen] = np.where(free | (picked == kernels - 1)[:, None], anything, observed)
        return points


def _widths(centres: Floats, low: Floats, high: Floats) -> Floats:
    """Return the standard deviations of kernels, [N, R]: the larger gap to a neighbour, or at the ends the only one."""
    count = len(centres)
    if not count:
        return np.empty_like(centres)
    order = np.argsort(centres, axis=0)
    gaps = np.diff(np.vstack([low, np.take_along_axis(centres, order, axis=0), high]), axis=0)
    larger = np.maximum(gaps[:-1], gaps[1:])
    if count > 1:
        larger[0], larger[-1] = gaps[1], gaps[-2]
    widths = np.empty_like(centres)
    np.put_along_axis(widths, order, larger, axis=0)
    return np.clip(widths, (high - low) / min(FINEST, count + 2), high - low)
