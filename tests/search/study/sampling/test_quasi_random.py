"""The quasi-random sequence covers ranges evenly, conditional ones too, and goes on after a resumption."""

from __future__ import annotations

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search.space import Space
from search.study.sampling.quasi_random import value_at
from tests.search.study.sampling.small import Searched, end

SPACE = {
    "source": {"choice": ["distilled", "real"]},
    "x": {"float": [0.0, 1.0]},
    "ipc": {"float": [0.0, 1.0], "when": {"source": "distilled"}},
    "one": {"choice": ["only"]},
}


def test_each_stretch_of_a_range_gets_its_share() -> None:
    space = Space.parse(SPACE)
    study = Searched("qmc", space)
    for source in ("distilled", "real") * 64:
        study.ask(source)
    for source, name in (("distilled", "x"), ("distilled", "ipc"), ("real", "x")):
        values = sorted(trial.params[name] for trial in study.trials if trial.params["source"] == source)
        # 64 points of Sobol's sequence: one in each sixty-fourth of every coordinate.
        assert [int(64 * value) for value in values] == list(range(64))


def test_a_resumed_sequence_goes_on() -> None:
    space = Space.parse(SPACE)
    whole = Searched("qmc", space)
    expected = [whole.params("real") for _ in range(8)]
    first = Searched("qmc", space)
    for _ in range(3):
        end(first.ask("real"), 1.0)
    resumed = Searched("qmc", space, known=first.trials)
    assert [resumed.params("real") for _ in range(5)] == expected[3:]


@pytest.mark.parametrize(
    ("distribution", "place", "value"),
    [
        (CategoricalDistribution(["a", "b", "c", "d"]), 0.74, "c"),
        (FloatDistribution(2, 4), 0.25, 2.5),
        (FloatDistribution(1e-4, 1, log=True), 0.5, 0.01),
        (FloatDistribution(0.5, 1.5, step=0.5), 0.66, 1.0),
        (IntDistribution(1, 4), 0.0, 1),
        (IntDistribution(1, 4), 0.999, 4),
        (IntDistribution(1, 9, step=4), 0.34, 5),
        (IntDistribution(1, 100, log=True), 0.0, 1),
        (IntDistribution(1, 100, log=True), 0.9999, 100),
    ],
)
def test_a_share_of_a_distribution(distribution: object, place: float, value: object) -> None:
    assert value_at(distribution, place) == pytest.approx(value) if isinstance(value, float) else value  # type: ignore[arg-type]
