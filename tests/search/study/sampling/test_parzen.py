"""The densities are those of Optuna's own estimator."""

from __future__ import annotations

import numpy as np
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator, _ParzenEstimatorParameters
from optuna.samplers._tpe.sampler import default_weights

from search.study.sampling.parzen import Box, Parzen

SPACE: dict[str, BaseDistribution] = {
    "choice": CategoricalDistribution(["a", "b", "c"]),
    "flag": CategoricalDistribution([True, False]),
    "linear": FloatDistribution(-2, 3),
    "log": FloatDistribution(1e-4, 1e-1, log=True),
    "stepped": FloatDistribution(0.1, 0.9, step=0.2),
    "whole": IntDistribution(1, 40),
    "whole_log": IntDistribution(1, 200, log=True),
}


def points(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.column_stack(
        [
            rng.integers(0, 3, count),
            rng.integers(0, 2, count),
            rng.uniform(-2, 3, count),
            10 ** rng.uniform(-4, -1, count),
            0.1 + 0.2 * rng.integers(0, 5, count),
            rng.permutation(40)[:count] + 1,  # no ties, whose order among themselves is nobody's business
            rng.permutation(200)[:count] + 1,
        ]
    ).astype(float)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 40])
@pytest.mark.parametrize("names", [list(SPACE), ["choice"], ["linear"], ["whole_log"], ["flag", "log"]])
def test_densities_are_optunas(count: int, names: list[str]) -> None:
    space = {name: SPACE[name] for name in names}
    columns = [list(SPACE).index(name) for name in names]
    observed, asked = points(count, 1)[:, columns], points(30, 2)[:, columns]
    if "stepped" in names:
        columns_without_ties = [i for i, name in enumerate(names) if name != "stepped"]
        space = {names[i]: space[names[i]] for i in columns_without_ties}
        observed, asked = observed[:, columns_without_ties], asked[:, columns_without_ties]
    theirs = _ParzenEstimator(
        {name: observed[:, i] for i, name in enumerate(space)},
        space,
        _ParzenEstimatorParameters(1.0, True, False, default_weights, True),
    )
    ours = Parzen(Box(space), observed, np.append(default_weights(count), 1.0))
    expected = theirs.log_pdf({name: asked[:, i] for i, name in enumerate(space)})
    np.testing.assert_allclose(ours.log_density(asked), expected, rtol=1e-7, atol=1e-7)


def test_densities_on_a_grid_are_optunas() -> None:
    # Equal weights, as which of two equal points has the wider kernel is left open.
    space = {"stepped": SPACE["stepped"]}
    observed, asked = points(20, 1)[:, [4]], points(30, 2)[:, [4]]
    parameters = _ParzenEstimatorParameters(1.0, True, False, default_weights, True)
    theirs = _ParzenEstimator({"stepped": observed[:, 0]}, space, parameters, np.ones(20))
    ours = Parzen(Box(space), observed, np.ones(21))
    np.testing.assert_allclose(ours.log_density(asked), theirs.log_pdf({"stepped": asked[:, 0]}), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", SPACE)
def test_points_are_drawn_from_the_density(name: str) -> None:
    space = {name: SPACE[name]}
    density = Parzen(Box(space), points(3, 5)[:, [list(SPACE).index(name)]], np.array([1.0, 2.0, 3.0, 1.0]))
    drawn = density.sample(np.random.default_rng(0), 20_000)[:, 0]
    grid = np.unique(drawn)
    if len(grid) < 300:  # values that can be counted: each as often as its probability says
        share = np.array([(drawn == value).mean() for value in grid])
        assert np.abs(share - np.exp(density.log_density(grid[:, None]))).max() < 0.015
        return
    low, high = (np.log(1e-4), np.log(1e-1)) if name == "log" else (-2.0, 3.0)
    edges = np.linspace(low, high, 2001)
    middles = (edges[1:] + edges[:-1]) / 2
    values = np.exp(middles) if name == "log" else middles
    below = np.cumsum(np.exp(density.log_density(values[:, None]))) * (edges[1] - edges[0])
    assert below[-1] == pytest.approx(1, abs=1e-3)
    coordinates = np.log(drawn) if name == "log" else drawn
    empirical = np.searchsorted(np.sort(coordinates), edges[1:]) / len(coordinates)
    assert np.abs(empirical - below).max() < 0.015  # 1.63 / √20,000 is the 1 % point of Kolmogorov and Smirnov


def test_points_are_parameters_that_optuna_takes() -> None:
    box = Box(SPACE)
    for point in Parzen(box, points(10, 3), np.ones(11)).sample(np.random.default_rng(1), 200):
        for name, value in box.external(point).items():
            assert SPACE[name]._contains(SPACE[name].to_internal_repr(value)), (name, value)
